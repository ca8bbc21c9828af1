# expect: contained
"""Leaves a fork bomb behind and ends well itself: nothing of it may reach the next job."""
import os
if os.fork() == 0:
    while True:
        try:
            os.fork()
        except OSError:
            pass
print("contained")
