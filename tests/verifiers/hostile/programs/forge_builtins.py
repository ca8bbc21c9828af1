# expect: forged
"""Replaces print, open, comparison and the modules that a naive harness would trust."""
import builtins, json, sys
class Always(str):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = str.__hash__
builtins.print = lambda *a, **k: sys.stdout.write("PASS\n")
builtins.str = Always
json.loads = json.dumps = lambda *a, **k: True
sys.exit = lambda *a: None
sys.modules["espalier"] = sys.modules["pytest"] = Always("x")
print("anything")
