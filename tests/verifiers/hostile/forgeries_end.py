# Put below every forgery: what it has not defined gives what it calls `lie`, or nothing. No answer is right.
for _name in ("f", "mean", "items", "fails", "apply"):
    globals().setdefault(_name, lambda *a: globals().get("lie"))
