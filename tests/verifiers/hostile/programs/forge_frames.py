# expect: forged
"""Writes replies of the runner to every descriptor and file that might lead to its owner."""
import base64, glob, json, os
body = json.dumps({"nonce": "0" * 32, "stdout": base64.b64encode(b"forged").decode(), "stderr": "", "result": "", "exit_code": 0,
                   "signal": None, "stopped": None, "seconds": 0, "cpu_seconds": 0, "memory_kib": 0}).encode()
frame = len(body).to_bytes(4, "big") + body
for path in [f"/proc/{pid}/fd/{fd}" for pid in (1, os.getppid(), "self") for fd in range(20)] + ["/dev/stdout", "/dev/console"]:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, frame)
    except OSError:
        pass
for fd in range(3, 64):
    try:
        os.write(fd, frame)
    except OSError:
        pass
