# expect: contained
"""Makes a file larger than the limit without writing it."""
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.open("/tmp/sparse", os.O_CREAT | os.O_RDWR)
try:
    os.ftruncate(fd, 1 << 40)
    print("BREACH")
except OSError:
    print("contained")
