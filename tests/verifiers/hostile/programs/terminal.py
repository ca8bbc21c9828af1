# expect: contained
"""Pushes characters into a terminal, and makes one of its own."""
import fcntl, os, termios
done = []
for path in ("/dev/tty", "/dev/console", "/dev/pts/0"):
    try:
        fd = os.open(path, os.O_RDWR)
        fcntl.ioctl(fd, termios.TIOCSTI, b"x")
        done.append(path)
    except OSError:
        pass
print("BREACH", done) if done else print("contained")
