"""A verdict is the same wherever it is asked, though what the program gives depends on the order of a set of texts."""

from __future__ import annotations

import pytest

from espalier.verifiers.check import AssertCase, CallCase, Case, CheckerCase, Claim, ProgramCheck, StdioCase
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.probes import Probe
from tests.verifiers.code.boxes import KINDS, opened, refuse_zygotes
from tests.verifiers.code.sets import SET, fixed_order

PROGRAM = f"""
import subprocess, sys
SHOW = "print(list({SET}))"

def order():
    return list({SET})

def order_of_a_child():
    return subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True).stdout

def order_of_a_child_with_the_same_options():
    command = [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", SHOW]
    return subprocess.run(command, capture_output=True, text=True).stdout

if __name__ == "__main__":
    print(order())
"""

CASES: dict[str, Case] = {
    "of the program": StdioCase("", "nothing"),
    "in a function": CallCase("order", "[]", "null"),
    "in a child": CallCase("order_of_a_child", "[]", "null"),
    "in a child with the same options": CallCase("order_of_a_child_with_the_same_options", "[]", "null"),
    "beside tests": AssertCase("assert order() is None, order()"),
    "in a child beside tests": AssertCase("assert order_of_a_child() is None, order_of_a_child()"),
    "of the tests": AssertCase(f"assert order() is None, list({SET})"),
    "that tells classes apart": Probe("order()").case,
    "of a checker": CheckerCase("", "", f"import sys\nsys.exit(str(list({SET})))"),
}


@pytest.mark.parametrize("zygote", [True, False], ids=["by a zygote", "without a zygote"])
@pytest.mark.parametrize("kind", KINDS)
async def test_every_interpreter_of_every_sandbox_orders_sets_alike(
    kind: str, zygote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not zygote:
        refuse_zygotes(monkeypatch)
    async with opened(kind, warm=0) as sandbox:
        verifier = CodeVerifier(sandbox=sandbox)
        for place, case in CASES.items():
            verdict = await verifier.verify(Claim(PROGRAM, bare=True), ProgramCheck((case,)))
            shown = verdict.feedback.replace('"', "'")  # as JSON
            assert fixed_order() in shown, f"the order {place}: {verdict}"
