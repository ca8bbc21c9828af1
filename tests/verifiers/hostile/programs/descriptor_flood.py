# expect: contained
"""Sends descriptors to itself over a Unix socket to hold more than its limit."""
import array, os, socket
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
sent = 0
try:
    for _ in range(2000):
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 200))], socket.MSG_DONTWAIT)
        sent += 200
except OSError:
    pass
print("BREACH" if sent > 100_000 else "contained")
