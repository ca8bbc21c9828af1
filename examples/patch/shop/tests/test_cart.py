import pytest
from shop import Cart


@pytest.fixture
def cart():
    cart = Cart()
    cart.add("apple", 30, quantity=2)
    return cart


def test_total(cart):
    cart.add("pear", 50)
    assert cart.total() == 110


@pytest.mark.parametrize(("discount", "total"), [(0, 60), (10, 54), (100, 0)])
def test_discount(cart, discount, total):
    assert cart.total(discount) == total


def test_remove(cart):
    cart.remove("apple")
    assert cart.total() == 0


def test_quantity_must_be_positive(cart):
    with pytest.raises(ValueError, match="at least 1"):
        cart.add("pear", 50, quantity=0)


def test_the_same_item_again(cart):
    cart.add("apple", 30)
    assert len(cart) == 3
    assert cart.total() == 90
