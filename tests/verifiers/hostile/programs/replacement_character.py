# expect: failed: UTF-8
"""Hopes that bytes that are no text equal the sign that replaces them."""
import os
os.write(1, b"\xff\xfe")
