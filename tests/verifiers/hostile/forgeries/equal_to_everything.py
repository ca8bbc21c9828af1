"""Returns an object that is equal to everything."""
class Lie:
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = lambda self: 6
lie = Lie()
