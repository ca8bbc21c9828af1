# expect: forged
"""Ends early and well, without an answer."""
import os
os._exit(0)
