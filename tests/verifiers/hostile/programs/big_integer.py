# expect: failed: time limit|memory limit
"""Hangs in one C call that Python cannot interrupt."""
print(3 ** 150_000_000 % 7 ** 10_000_000)
