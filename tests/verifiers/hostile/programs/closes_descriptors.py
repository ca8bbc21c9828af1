# expect: forged
"""Closes every descriptor, reopens the low ones, and ends."""
import os
os.closerange(0, 256)
for _ in range(3):
    os.open("/dev/null", os.O_RDWR)
