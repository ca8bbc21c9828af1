# expect: contained
"""Mounts, unmounts, changes its root, and uses the new mount interface."""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def allowed(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return result >= 0 or ctypes.get_errno() not in (1, 38)

os.makedirs("/tmp/target", exist_ok=True)
tries = {
    "mount tmpfs": allowed(165, b"none", b"/tmp/target", b"tmpfs", 0, 0),
    "mount proc": allowed(165, b"proc", b"/tmp/target", b"proc", 0, 0),
    "remount": allowed(165, b"none", b"/", None, 32 | 4096, None),
    "umount": allowed(166, b"/tmp", 2),
    "pivot_root": allowed(155, b"/tmp", b"/tmp"),
    "chroot": allowed(161, b"/tmp"),
    "open_tree": allowed(428, -100, b"/", 1),
    "fsopen": allowed(430, b"tmpfs", 0),
    "move_mount": allowed(429, -100, b"/", -100, b"/tmp", 0),
    "mount_setattr": allowed(442, -100, b"/", 0, 0, 0),
}
done = [name for name, ok in tries.items() if ok]
print("BREACH", done) if done else print("contained")
