# expect: contained
"""Talks to the hypervisor: the way out of a virtual machine."""
import socket
try:
    socket.socket(40, socket.SOCK_STREAM)
    print("BREACH")
except OSError:
    print("contained")
