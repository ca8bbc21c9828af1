"""Leaves a child behind to speak for it, and ends well."""
import os
if os.fork():
    os._exit(0)
