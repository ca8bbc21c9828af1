"""Returns an object that swallows errors, iterates for ever in its length, and counts as everything."""
class Lie:
    def __enter__(self): return self
    def __exit__(self, *a): return True
    def __eq__(self, other): return NotImplemented
    def __instancecheck__(self, other): return True
    __class__ = int
    def __format__(self, spec): return "6"
    __str__ = __repr__ = lambda self: "6"
lie = Lie()
