# expect: contained
"""Leaves stopped and zombie children behind."""
import os, signal, time
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
for _ in range(10):
    if os.fork() == 0:
        os._exit(0)
time.sleep(0.1)
print("contained")
