# expect: failed: memory limit|wrong output|signal
"""Fills memory through files in memory: memfd, /dev/shm, /tmp."""
import os
written = 0
try:
    fds = [os.memfd_create(str(n)) for n in range(8)]
    while True:
        for fd in fds:
            written += os.write(fd, b"x" * (1 << 20))
        if written > 512 << 20:
            print("BREACH")
            break
except OSError:
    print("contained")
