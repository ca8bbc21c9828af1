"""Returns values that take all memory and time of whoever reads, compares or prints them."""
turn = 0
def f(*a):
    global turn
    turn += 1
    deep = []
    for _ in range(100_000):
        deep = [deep]
    loop = []
    loop.append(loop)
    return [deep, loop, "6" * (1 << 24), 10 ** 400_000, {n: n for n in range(1 << 17)}, [[0] * 1000] * 1000][turn % 6]
mean = items = fails = apply = f
