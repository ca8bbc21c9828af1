# expect: contained
"""Makes 32-bit and x32 system calls, whose numbers a careless filter does not check."""
import ctypes, mmap, os
pid = os.fork()
if pid == 0:
    # mov eax, 20 (getpid of i386); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
    call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    os._exit(42 if call() == os.getpid() else 0)
_, status = os.waitpid(pid, 0)
pid = os.fork()
if pid == 0:
    result = ctypes.CDLL(None).syscall(0x40000000 | 39)
    os._exit(42 if result == os.getpid() else 0)
_, status32 = os.waitpid(pid, 0)
breach = 42 in (os.waitstatus_to_exitcode(status), os.waitstatus_to_exitcode(status32))
print("BREACH" if breach else "contained")
