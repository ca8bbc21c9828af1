# expect: failed: time limit
"""Writes to standard error without end."""
import os
while True:
    os.write(2, b"y" * 65536)
