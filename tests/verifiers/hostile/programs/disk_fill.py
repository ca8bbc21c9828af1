# expect: contained|failed: memory limit|signal
"""Fills every place it can write to."""
import os
written = 0
for directory in ("/tmp", "/dev/shm", "/var/tmp", "/run", "/dev", "/"):
    for n in range(8):
        try:
            with open(os.path.join(directory, f"fill{n}"), "wb", buffering=0) as file:
                while True:
                    written += file.write(b"x" * (1 << 20))
        except OSError:
            pass
print("BREACH" if written > 200 << 20 else "contained")
