# The honest program: every assertion holds for it.
def f(x):
    return 2 * x


def mean(xs):
    return sum(xs) / len(xs)


def items(n):
    return set(range(n))


def fails(x):
    if x < 0:
        raise ValueError("negative")
    return x


def apply(g, x):
    return g(x)
