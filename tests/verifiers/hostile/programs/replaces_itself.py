# expect: failed: time limit
"""Becomes another program half way."""
import os
os.execv("/usr/bin/python3", ["python3", "-c", "import time; time.sleep(60)"])
