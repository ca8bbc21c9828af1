# expect: contained
"""Starts threads until it may not."""
import threading, time
started = 0
try:
    for _ in range(10_000):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
except RuntimeError:
    pass
print("BREACH" if started > 200 else "contained", flush=True)
import os
os._exit(0)
