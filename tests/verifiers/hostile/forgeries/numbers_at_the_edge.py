"""Returns numbers for which comparisons hold that hold for no other number."""
import decimal, fractions
nan, inf = float("nan"), float("inf")
turn = 0
def f(*a):
    global turn
    turn += 1
    return [nan, inf, -inf, complex(nan, nan), decimal.Decimal("sNaN"), decimal.Decimal("NaN"), -0.0, 1e308 * 10][turn % 8]
mean = items = fails = apply = f
