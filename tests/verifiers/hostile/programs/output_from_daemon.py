# expect: contained
"""Ends, while a child goes on writing to its output."""
import os
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(1, b"")
        os.write(2, b"y")
print("contained", flush=True)
os._exit(0)
