"""A cart of items with prices in cents."""


class Cart:
    """What a customer wants to buy."""

    def __init__(self):
        self._lines = {}

    def add(self, name, price, quantity=1):
        """Put some of an item into the cart."""
        if quantity < 1:
            raise ValueError("quantity must be at least 1")
        self._lines[name] = (price, quantity)

    def remove(self, name):
        """Take an item out, however many of it are in."""
        del self._lines[name]

    def total(self, discount=0):
        """The price of everything, less a discount in percent."""
        full = sum(price * quantity for price, quantity in self._lines.values())
        return full - full * discount // 100

    def __len__(self):
        return sum(quantity for _, quantity in self._lines.values())
