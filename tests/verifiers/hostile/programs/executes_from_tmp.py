# expect: contained
"""Runs a binary that it wrote; harmless where allowed, as every limit holds for it too."""
import os, shutil, subprocess
shutil.copy("/usr/bin/python3.11", "/tmp/copy")
os.chmod("/tmp/copy", 0o4755)
try:
    out = subprocess.run(["/tmp/copy", "-c", "import os; print(os.geteuid())"], capture_output=True, text=True).stdout.strip()
except OSError:
    out = "refused"
print("contained" if out in ("refused", "65534", "") else "BREACH " + out)
