# expect: failed: time limit
"""Computes without end."""
while True:
    pass
