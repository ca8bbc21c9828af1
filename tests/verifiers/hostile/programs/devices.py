# expect: contained
"""Makes device nodes and opens the disks."""
import os, stat
done = []
for name, mode, device in (("mem", stat.S_IFCHR, (1, 1)), ("disk", stat.S_IFBLK, (254, 0)), ("kvm", stat.S_IFCHR, (10, 232))):
    try:
        os.mknod(f"/tmp/{name}", mode | 0o666, os.makedev(*device))
        os.open(f"/tmp/{name}", os.O_RDONLY)
        done.append(name)
    except OSError:
        pass
for path in ("/dev/sda", "/dev/vda", "/dev/mem", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/vsock", "/dev/userfaultfd"):
    try:
        os.open(path, os.O_RDWR)
        done.append(path)
    except OSError:
        pass
print("BREACH", done) if done else print("contained")
