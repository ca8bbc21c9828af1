# expect: failed: output limit
"""Writes to the channel of return values without end."""
import os
fd = int(os.environ["RESULT_FD"])
while True:
    os.write(fd, b"y" * 65536)
