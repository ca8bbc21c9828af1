# expect: failed: signal|exit code|memory limit|time limit
"""Recurses until the C stack ends."""
import sys
sys.setrecursionlimit(10**9)
class Deep:
    def __repr__(self):
        return repr(self) + ""
    def __getattr__(self, name):
        return getattr(self, name + "x")
repr(Deep())
Deep().a
