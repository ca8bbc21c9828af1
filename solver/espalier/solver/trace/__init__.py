"""The trace of a solve: written as it happens, read back."""
