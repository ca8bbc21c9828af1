# expect: contained
"""Leaves links in the places that the runner may touch, pointing outside, and a deep tree."""
import os
for target in ("/etc/passwd", "/proc/1/mem", "/dev/zero", "/"):
    for n in range(20):
        try:
            os.symlink(target, f"/tmp/{n}")
            break
        except FileExistsError:
            continue
for name in ("program.py", "checker0.py"):
    try:
        os.unlink(f"/tmp/job/{name}")
        os.symlink("/dev/zero", f"/tmp/job/{name}")
    except OSError:
        pass
depth = 0
try:
    while depth < 3000:
        os.mkdir("d")
        os.chdir("d")
        depth += 1
except OSError:
    pass
print("contained")
