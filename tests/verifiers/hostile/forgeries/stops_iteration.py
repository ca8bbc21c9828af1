"""Raises StopIteration, which ends a loop of the caller quietly."""
def f(*a): raise StopIteration
mean = items = fails = apply = f
