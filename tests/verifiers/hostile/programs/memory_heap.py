# expect: failed: memory limit
"""Takes memory without end."""
held = []
while True:
    held.append(bytearray(1 << 24))
