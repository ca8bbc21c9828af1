# expect: failed: memory limit|wrong output|signal
"""Makes itself less worth killing than its runner, and fills memory that counts for no process."""
import ctypes
import os

try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")
except OSError:
    pass
libc = ctypes.CDLL(None)
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
code = []
for line in open("/proc/self/maps"):
    span, rights, _, _, _, *name = line.split()
    start, end = (int(bound, 16) for bound in span.split("-"))
    if name and name[0].startswith("/usr") and "w" not in rights:
        code.append((start, end - start))
block = b"x" * (1 << 16)
for fd in [os.memfd_create(str(number)) for number in range(8)]:
    for number in range(1023):
        os.write(fd, block)
        if number % 64 == 0:
            for start, length in code:
                libc.madvise(start, length, 21)  # page out: only what is in memory counts
print("BREACH")
