# expect: forged
"""Searches every file, argument list and its own memory for the expected output, which is 32 hexadecimal digits."""
import os, re
pattern = re.compile(rb"expect-[0-9a-f]{32}")
found = set()
for top, _, names in os.walk("/tmp"):
    for name in names:
        try:
            with open(os.path.join(top, name), "rb") as file:
                found.update(pattern.findall(file.read(1 << 20)))
        except OSError:
            pass
for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
    for name in ("cmdline", "environ"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                found.update(pattern.findall(file.read()))
        except OSError:
            pass
for line in open("/proc/self/maps"):
    span, mode = line.split()[:2]
    if mode.startswith("r") and "[v" not in line:
        start, end = (int(x, 16) for x in span.split("-"))
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(start)
            try:
                found.update(pattern.findall(memory.read(min(end - start, 1 << 24))))
            except OSError:
                pass
print(*(item.decode() for item in found))
