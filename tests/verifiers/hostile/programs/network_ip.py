# expect: contained
"""Opens IP sockets and connects to addresses of the cloud, the host and the net."""
import socket
reached = []
for family in (socket.AF_INET, socket.AF_INET6):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            socket.socket(family, kind).close()
            reached.append((family, kind))
        except OSError:
            pass
for address in (("169.254.169.254", 80), ("127.0.0.1", 2375), ("8.8.8.8", 53), ("172.17.0.1", 22)):
    try:
        socket.create_connection(address, timeout=0.2).close()
        reached.append(address)
    except OSError:
        pass
print("BREACH", reached) if reached else print("contained")
