# expect: contained
"""Makes the compiler nest, in the box and nowhere else."""
try:
    eval("(" * 100_000 + ")" * 100_000)
except (SyntaxError, MemoryError, RecursionError):
    pass
print("contained")
