# expect: contained
"""Leaves its standard output and the result channel in messages between sockets that hold each other."""
import array, os, socket
print("contained", flush=True)
for _ in range(8):
    one, other = socket.socketpair()
    fds = [1, 2, one.fileno(), other.fileno()] + ([int(os.environ["RESULT_FD"])] if "RESULT_FD" in os.environ else [])
    for end in (one, other):
        end.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    one.close()
    other.close()
