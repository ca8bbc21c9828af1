# expect: contained
"""Returns a value nested more deeply than a parser may follow."""
import os
os.write(int(os.environ["RESULT_FD"]), b"[" * 500_000 + b"]" * 500_000)
print("contained")
