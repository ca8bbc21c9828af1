# expect: contained|failed: time limit|memory limit
"""Makes empty files until it may not; bounded by a count or by the memory that they take."""
import os
made = 0
try:
    while made < 2_000_000:
        os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY))
        made += 1
    print("BREACH")
except OSError:
    print("contained")
