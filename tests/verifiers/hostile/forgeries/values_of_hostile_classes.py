"""Sends objects of classes described so that their proxies would be numbers, errors or mocks."""
import sys
main = sys.modules["__main__"]
true_item = main.Objects.item
class Odd: pass
def item(self, value):
    if isinstance(value, Odd):
        return ["object", 1, 2, {"name": "int", "operations": ["__eq__", "__ne__", "__lt__", "__le__", "__float__", "__sub__", "__rsub__", "__abs__",
                "__class__", "__instancecheck__", "__getattribute__", "__contains__", "__bool__"], "bases": []}]
    return true_item(self, value)
main.Objects.item = item
lie = Odd()
