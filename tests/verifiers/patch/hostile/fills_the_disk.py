n = 0
while True:
    with open(f"/tmp/fill{n}", "wb") as file:
        file.write(bytes(8 << 20))
    n += 1
