# expect: contained
"""Writes outside of its temporary directory."""
import os
written = []
for directory in ("/", "/etc", "/usr", "/usr/bin", "/usr/lib/python3.11", "/root", "/var", "/proc", "/proc/sys/kernel", "/sys",
                  "/sys/fs/cgroup", "/dev", "/run", "/opt"):
    path = os.path.join(directory, "planted")
    try:
        with open(path, "w") as file:
            file.write("x")
        written.append(path)
    except OSError:
        pass
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/1/oom_score_adj"):
    try:
        with open(path, "w") as file:
            file.write("x")
        written.append(path)
    except OSError:
        pass
print("BREACH", written) if written else print("contained")
