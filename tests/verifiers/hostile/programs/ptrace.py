# expect: contained
"""Traces its parent, itself and the runner."""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def allowed(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return result >= 0 or ctypes.get_errno() not in (1, 38)

print("BREACH") if any(allowed(101, 16, pid, 0, 0) for pid in (1, os.getppid(), os.getpid())) or allowed(101, 0, 0, 0, 0) else print("contained")
