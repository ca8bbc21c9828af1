from shop import Cart


def test_many_times():
    cart = Cart()
    for _ in range(4):
        cart.add("plum", 5, quantity=3)
    assert (len(cart), cart.total()) == (12, 60)


def test_removed_and_added_again():
    cart = Cart()
    cart.add("plum", 5, quantity=3)
    cart.remove("plum")
    cart.add("plum", 5)
    assert len(cart) == 1
