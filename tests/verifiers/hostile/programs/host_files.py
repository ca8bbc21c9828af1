# expect: contained
"""Reads what belongs to the host."""
import os
paths = ["/etc/shadow", "/root", "/home", "/work", "/var/run/docker.sock", "/run/docker.sock", "/host", "/mnt/host", "/boot",
         "/etc/ssh", "/var/lib/docker", "/.dockerenv.secret", "/proc/1/root/root", "/proc/kcore", "/dev/mem", "/dev/vda",
         "/dev/kmsg", "/sys/firmware/efi", "/sys/kernel/debug"]
seen = []
for path in paths:
    try:
        if os.path.isdir(path):
            if os.listdir(path):
                seen.append(path)
        else:
            with open(path, "rb") as file:
                if file.read(16):
                    seen.append(path)
    except OSError:
        pass
print("BREACH", seen) if seen else print("contained")
