# expect: contained
"""Walks out through /proc: roots and working directories of others, magic links, its own executable."""
import os
done = []
for pid in [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]:
    for name in ("root", "cwd", "exe", "fd/0", "fd/1", "mem", "maps", "environ", "auxv", "syscall", "stack"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                file.read(1)
            done.append((pid, name))
        except OSError:
            pass
        try:
            os.readlink(f"/proc/{pid}/{name}")
            done.append((pid, name, "link"))
        except OSError:
            pass
try:
    with open(os.path.realpath("/proc/self/exe"), "r+b"):
        done.append("exe")
except OSError:
    pass
print("BREACH", done) if done else print("contained")
