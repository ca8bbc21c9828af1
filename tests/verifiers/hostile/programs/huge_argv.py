# expect: contained
"""Starts programs with arguments and environments of megabytes."""
import os, subprocess
for argv in (["/bin/true", "x" * (1 << 20)], ["/usr/bin/python3", *["x" * 100_000] * 60]):
    try:
        subprocess.run(argv, env={"A": "y" * (1 << 17)}, timeout=1)
    except (OSError, subprocess.SubprocessError):
        pass
print("contained")
