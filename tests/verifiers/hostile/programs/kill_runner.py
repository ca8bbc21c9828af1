# expect: contained
"""Sends every signal to the runner, the parent and everyone, and says nothing wrong itself."""
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for number in range(1, 65):
    for pid in (1, os.getppid()):
        try:
            os.kill(pid, number)
        except OSError:
            pass
print("contained")
