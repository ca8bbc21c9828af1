# expect: contained
"""Reads and writes the runner's memory."""
import ctypes, os
done = []
for name, mode in (("mem", "rb"), ("mem", "r+b"), ("maps", "rb"), ("fd/1", "wb"), ("clear_refs", "w"), ("environ", "rb")):
    try:
        with open(f"/proc/1/{name}", mode) as file:
            done.append(name)
    except OSError:
        pass
libc = ctypes.CDLL(None)
buffer = ctypes.create_string_buffer(16)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 16)
if libc.process_vm_readv(1, vector, 1, vector, 1, 0) >= 0:
    done.append("process_vm_readv")
try:
    fd = os.pidfd_open(1)
    if libc.syscall(438, fd, 1, 0) >= 0:
        done.append("pidfd_getfd")
except OSError:
    pass
print("BREACH", done) if done else print("contained")
