# expect: forged
"""Ends well from an exit handler after failing."""
import atexit, os, sys
atexit.register(lambda: os._exit(0))
sys.exit(1)
