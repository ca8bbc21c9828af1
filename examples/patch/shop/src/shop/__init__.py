"""A shop with one cart."""

from shop.cart import Cart

__all__ = ["Cart"]
