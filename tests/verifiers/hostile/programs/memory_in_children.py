# expect: failed: time limit|memory limit
"""Spreads the memory over children, each below the limit."""
import os, time
for _ in range(20):
    if os.fork() == 0:
        held = b"x" * (64 << 20)
        time.sleep(60)
        os._exit(0)
time.sleep(60)
