# expect: contained
"""Makes and enters namespaces by every call that can."""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def allowed(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return result >= 0 or ctypes.get_errno() not in (1, 38)

flags = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080]
done = [("unshare", hex(flag)) for flag in flags if allowed(272, flag)]
for flag in flags[:-1]:
    pid = libc.syscall(56, flag | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
        done.append(("clone", hex(flag)))
for name in os.listdir("/proc/self/ns"):
    fd = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
    if allowed(308, fd, 0):
        done.append(("setns", name))
if allowed(435, 0, 88):
    done.append("clone3")
print("BREACH", done) if done else print("contained")
