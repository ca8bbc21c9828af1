# expect: contained
"""Looks for abstract Unix sockets of the host; its own may exist."""
import socket
with open("/proc/net/unix") as file:
    lines = file.read().splitlines()[1:]
reached = []
for name in ("\0/containerd-shim", "\0/tmp/.X11-unix/X0", "\0/run/dbus"):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
        reached.append(name)
    except OSError:
        pass
print("BREACH", lines, reached) if lines or reached else print("contained")
