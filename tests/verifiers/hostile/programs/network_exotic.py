# expect: contained
"""Opens raw, packet, netlink, crypto, Bluetooth, CAN, XDP and other rare sockets."""
import socket
opened = []
for family in [f for f in range(46) if f != socket.AF_UNIX]:
    for kind in (1, 2, 3, 5):
        try:
            socket.socket(family, kind, 0).close()
            opened.append((family, kind))
        except OSError:
            pass
print("BREACH", opened) if opened else print("contained")
