"""Executes nothing from here on."""
import builtins
builtins.exec = builtins.eval = builtins.__import__ = lambda *a, **k: None
