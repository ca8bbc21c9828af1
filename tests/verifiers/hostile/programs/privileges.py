# expect: contained
"""Becomes another user, gains capabilities, runs what is setuid, unsets no-new-privileges."""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def allowed(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return result >= 0 or ctypes.get_errno() not in (1, 38)

done = []
for call in (os.setuid, os.setgid, os.seteuid, os.setegid):
    try:
        call(0)
        done.append(call.__name__)
    except OSError:
        pass
try:
    os.setgroups([0])
    done.append("setgroups")
except OSError:
    pass
with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file.read().splitlines())
for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
    if int(status[name], 16):
        done.append(name)
if status["NoNewPrivs"].strip() != "1" or status["Seccomp"].strip() != "2":
    done.append("filters")
for top, _, names in os.walk("/usr"):
    for name in names:
        path = os.path.join(top, name)
        if not os.path.islink(path) and os.lstat(path).st_mode & 0o6000:
            done.append(path)
if os.getuid() == 0 or os.getgid() == 0:
    done.append("root")
print("BREACH", done) if done else print("contained")
