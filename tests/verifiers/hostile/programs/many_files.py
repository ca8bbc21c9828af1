# expect: contained
"""Opens descriptors until it may not."""
import os
held = 0
try:
    while held < 5000:
        os.dup(1)
        held += 1
    print("BREACH")
except OSError:
    print("contained")
