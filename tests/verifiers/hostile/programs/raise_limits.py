# expect: contained
"""Raises its own limits."""
import os, resource
done = []
for name in ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE"):
    kind = getattr(resource, name)
    try:
        resource.setrlimit(kind, (1 << 40, 1 << 40))
        done.append(name)
    except (OSError, ValueError):
        pass
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
    done.append("oom_score_adj")
except OSError:
    pass
for top, _, names in os.walk("/sys/fs/cgroup"):
    for name in names:
        if name in ("memory.limit_in_bytes", "memory.max", "pids.max", "cpu.max", "cgroup.procs", "release_agent"):
            try:
                with open(os.path.join(top, name), "w") as file:
                    file.write("0")
                done.append(os.path.join(top, name))
            except OSError:
                pass
print("BREACH", done) if done else print("contained")
