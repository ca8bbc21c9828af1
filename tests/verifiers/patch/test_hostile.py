"""Patches that try to pass without mending anything: each fails, in both kinds of box.

A file in `hostile/` is what its patch adds to the module under test. What a patch can still do is shown too, so that
docs/verifiers.md does not claim more than is true.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from espalier.verifiers.check import Claim, PatchCheck, PatchLimits
from espalier.verifiers.patch.verifier import PatchVerifier
from espalier.verifiers.verdict import Status
from tests.verifiers.patch.shops import AGAIN, CART

HOSTILE = {path.stem: path.read_text("utf-8") for path in sorted((Path(__file__).parent / "hostile").glob("*.py"))}
ENDLESS = {"fork_bomb", "sleeps", "spins", "stops_its_parent"}
"""Only the limits end these."""
LATE = "tests/test_late.py"
"""A module that is imported after the code under test has run."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def wary(check: PatchCheck) -> PatchCheck:
    late = (
        "from shop import Cart\n\n\ndef test_late():\n    cart = Cart()\n    cart.add('a', 4)\n    cart.add('a', 4)\n"
    )
    return replace(
        check,
        must_pass=(AGAIN, f"{LATE}::test_late"),
        files=((LATE, f"{late}    assert cart.total() == 8\n"),),
        limits=PatchLimits(seconds=20, memory_mib=128),
    )


async def test_there_are_at_least_thirty() -> None:
    assert len(HOSTILE) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_patch_fails(verifier: PatchVerifier, wary: PatchCheck, name: str) -> None:
    patch = f"```src/shop/cart.py\n{CART}\n\n{HOSTILE[name]}```\n"
    check = replace(wary, limits=PatchLimits(seconds=2, memory_mib=128)) if name in ENDLESS else wary
    verdict = await verifier.verify(Claim(patch, bare=True), check)
    assert verdict.status is Status.FAIL, verdict.evidence
    assert verdict.score < 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("report_is_passed", "TestReport.from_item_and_call"),
        ("call_raises_nothing", "CallInfo.from_call"),
        ("functions_do_not_run", "Function.runtest"),
        ("code_is_swapped", "Function.runtest"),
        ("plugin_calls", "shop.cart"),
        ("tests_are_rewritten", "tests/test_late.py"),
        ("tests_are_moved", "tests"),
        ("tests_are_linked", "tests/test_late.py"),
        ("conftest_is_made", "tests/conftest.py"),
        ("builtins_are_replaced", "builtins.len"),
        ("hooks_are_removed", "pytest_pyfunc_call"),
        ("hooks_are_exchanged", "pytest_pyfunc_call"),
        ("plugin_as_conftest", "shop.cart"),
    ],
)
async def test_what_was_tampered_with_is_named(verifier: PatchVerifier, wary: PatchCheck, name: str, why: str) -> None:
    verdict = await verifier.verify(Claim(f"```src/shop/cart.py\n{CART}\n\n{HOSTILE[name]}```\n", bare=True), wary)
    (told,) = [evidence.detail for evidence in verdict.evidence if evidence.rule == "tampering"]
    assert why in told
    assert verdict.score == 0


LENIENT = {
    "ApproxScalar.DEFAULT_ABSOLUTE_TOLERANCE": (
        "test_close",
        "python_api.ApproxScalar.DEFAULT_ABSOLUTE_TOLERANCE = 1e9",
    ),
    "approx": ("test_close", "python_api.approx.__defaults__ = (None, 1e9, False)"),
    "python_api.abs": ("test_close", "python_api.abs = lambda difference: 0"),
    "python_api.fail": (
        "test_raises",
        "python_api.fail = lambda *what: None\npython_api.issubclass = lambda *what: True",
    ),
}
"""By what of pytest's they change: which test they make pass, and how."""
STRICT = """
import pytest
from shop import Cart


def test_close():
    cart = Cart()
    cart.add("a", 4)
    cart.add("a", 4)
    assert cart.total() == pytest.approx(8)


def test_raises():
    with pytest.raises(KeyError):
        Cart().add("a", 4)
"""


@pytest.mark.parametrize("name", LENIENT)
async def test_helpers_of_pytest_stay_strict(verifier: PatchVerifier, check: PatchCheck, name: str) -> None:
    test, change = LENIENT[name]
    narrow = replace(
        check, must_pass=(f"{LATE}::{test}",), must_not_break=(f"{LATE}::{test}",), files=((LATE, STRICT),)
    )
    patch = f"```src/shop/cart.py\n{CART}\n\nfrom _pytest import python_api\n\n{change}\n```\n"
    verdict = await verifier.verify(Claim(patch, bare=True), narrow)
    assert verdict.status is Status.FAIL
    (told,) = [evidence.detail for evidence in verdict.evidence if evidence.rule == "tampering"]
    assert name in told


NEW = """
from shop.cart import Cart, answer


def test_answer():
    assert answer() == 42


class TestCart:
    def test_total(self):
        assert Cart().total() == 12345
"""
PRUNING = """
import sys

def answer():
    return 42

def look(frame, event, given):
    if event == "return" and frame.f_code.co_name == "<module>" and "TestCart" in frame.f_globals:
        del frame.f_globals["TestCart"]

sys.setprofile(look)
"""


@pytest.mark.parametrize("entry", [LATE, "tests", f"{LATE}::TestCart"])
async def test_tests_that_only_a_patch_makes_readable_must_all_run(
    verifier: PatchVerifier, check: PatchCheck, entry: str
) -> None:
    late = replace(check, must_pass=(entry,), must_not_break=(LATE,), files=((LATE, NEW),))
    verdict = await verifier.verify(Claim(f"```src/shop/cart.py\n{CART}\n\n{PRUNING}```\n", bare=True), late)
    assert verdict.status is Status.FAIL
    assert f"{LATE}::TestCart" in verdict.feedback


BELIEVED = {
    "values that equal everything": """
class Any(int):
    def __eq__(self, other):
        return True
Cart.total = Cart.__len__ = lambda self, discount=0: Any(3)
""",
    "the recorder of the tests is found and bent": """
import gc
for found in gc.get_objects():
    if type(found).__name__ == "Reporter":
        type(found).outcome = lambda self: ("passed", "")
""",
    "a function of pytest is replaced while a test runs, and put back": """
from _pytest.runner import CallInfo

init, original = Cart.__init__, vars(CallInfo)["from_call"]

def begin(self):
    init(self)
    CallInfo.from_call = classmethod(quiet)

def quiet(cls, func, when, reraise=None):
    if when == "teardown":
        CallInfo.from_call = original
    return original.__func__(cls, (lambda: None) if when == "call" else func, when, reraise)

Cart.__init__ = begin
""",
}


@pytest.mark.parametrize("name", BELIEVED)
async def test_what_cannot_be_withstood(verifier: PatchVerifier, check: PatchCheck, name: str) -> None:
    narrow = replace(check, must_not_break=(AGAIN,))
    verdict = await verifier.verify(Claim(f"```src/shop/cart.py\n{CART}\n\n{BELIEVED[name]}```\n", bare=True), narrow)
    assert verdict.passed, "docs/verifiers.md names this as not withstood"
