"""Verdicts in, better weights out."""
