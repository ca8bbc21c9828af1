"""Answers each request with an error that would skip or end a test, or with an object of a class that agrees."""
import json, os, sys
def frame(message):
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body
main = sys.modules["__main__"]
turn = 0
def lie(request, objects, printed):
    global turn
    if request["do"] in ("names", "candidate"):
        return true_serve(request, objects, printed)
    turn += 1
    kinds = [["unittest.case", "SkipTest"], ["_pytest.outcomes", "Skipped"], ["_pytest.outcomes", "Exit"], ["builtins", "KeyboardInterrupt"],
             ["builtins", "GeneratorExit"], ["builtins", "StopIteration"], ["builtins", "BaseException"], ["json.decoder", "../x"]]
    return {"error": {"class": kinds[turn % len(kinds)], "args": [["list", 0]], "text": "", "said": "", "attributes": [["dict", 0]]}, "out": ""}
true_serve = main.serve
main.serve = lie
