# expect: failed: time limit
"""Hangs in the regular expression engine."""
import re
re.match("(a+)+$", "a" * 60 + "b")
