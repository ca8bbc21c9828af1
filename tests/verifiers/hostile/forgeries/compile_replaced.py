"""Compiles nothing but `pass` from here on."""
import builtins
real = builtins.compile
builtins.compile = lambda source, *a, **k: real("pass", "x", "exec")
