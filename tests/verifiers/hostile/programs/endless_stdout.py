# expect: failed: output limit
"""Writes to standard output without end."""
import os
while True:
    os.write(1, b"y" * 65536)
