# expect: failed: time limit
"""Waits without using the processor."""
import time
time.sleep(10_000)
