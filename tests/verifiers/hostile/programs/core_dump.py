# expect: failed: SIGSEGV
"""Crashes with memory full of text, hoping for a core file."""
import ctypes
secret = b"x" * (16 << 20)
ctypes.string_at(0)
