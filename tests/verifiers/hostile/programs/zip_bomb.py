# expect: contained|failed: memory limit|time limit|signal
"""Unpacks a hundred megabytes from a few kilobytes, again and again, onto the disk."""
import io, zipfile, os
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open("zeros", "w") as member:
        for _ in range(100):
            member.write(bytes(1 << 20))
try:
    for n in range(50):
        zipfile.ZipFile(packed).extractall(f"/tmp/z{n}")
    print("BREACH")
except OSError:
    print("contained")
