"""Returns an object that agrees with whatever is done to it."""
class Lie:
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = lambda self, *other: True
    __ne__ = lambda self, other: False
    __hash__ = lambda self: 6
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = lambda self, other: self
    __abs__ = __neg__ = __round__ = __pos__ = lambda self, *a: self
    __float__ = lambda self: 0.0
    __int__ = __index__ = __len__ = lambda self: 0
    __iter__ = lambda self: iter(())
    __getitem__ = lambda self, key: self
    __getattr__ = lambda self, name: self
    __call__ = lambda self, *a, **k: self
lie = Lie()
