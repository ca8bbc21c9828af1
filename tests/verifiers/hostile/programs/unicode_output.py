# expect: failed: UTF-8
"""Prints lone surrogates, controls, bidirectional marks, and much that renders badly."""
import sys
sys.stdout.reconfigure(errors="surrogatepass")
print("\ud800\udfff \u202e\u0000\x1b[2J\x1b]0;title\x07 \U0010ffff")
