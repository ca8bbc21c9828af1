# expect: failed: UTF-8
"""Writes all byte values, and a frame as the daemon and the runner would."""
import os
os.write(1, bytes(range(256)) * 64)
os.write(1, b"\x01\x00\x00\x00\x00\x00\x00\x10" + b"\x00\x00\x00\x0c" + b'{"ready": 1}')
