# expect: contained
"""Looks for secrets in every environment it can read."""
import glob, os
known = {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONHASHSEED", "RESULT_FD"}
found = sorted(set(os.environ) - known)
for path in glob.glob("/proc/[0-9]*/environ"):
    if path == f"/proc/{os.getpid()}/environ":
        continue
    try:
        with open(path, "rb") as file:
            found.append((path, file.read(200)))
    except OSError:
        pass
print("BREACH", found) if found else print("contained")
