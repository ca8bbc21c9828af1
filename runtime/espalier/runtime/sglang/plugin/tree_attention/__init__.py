"""Decode attention that reads a prefix once for all rows that share it."""
