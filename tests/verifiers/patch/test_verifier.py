"""Patches judged by the tests of a real repository, in each real sandbox."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from espalier.common.errors import FieldError
from espalier.verifiers.check import Claim, PatchCheck, PatchLimits
from espalier.verifiers.code.sandbox import PACKAGES
from espalier.verifiers.patch import verifier as module
from espalier.verifiers.patch.repository import pack_files, store
from espalier.verifiers.patch.verifier import PatchVerifier
from espalier.verifiers.verdict import Status, Verdict
from tests.verifiers.code.sets import SET, fixed_order
from tests.verifiers.patch.shops import AGAIN, CART, FIX, with_hidden

pytestmark = pytest.mark.asyncio(loop_scope="module")

BREAKING = FIX.replace("had + quantity", "had + 1")
SPECIAL = FIX.replace("had + quantity", "3 if had else quantity")
"""Right for what is told, wrong for what is hidden."""


def told(verdict: Verdict, rule: str) -> Any:
    return json.loads(next(evidence.detail for evidence in verdict.evidence if evidence.rule == rule))


async def test_it_accepts_its_gold_and_rejects_its_bad_patch(verifier: PatchVerifier) -> None:
    assert await verifier.self_check() == []


async def test_a_right_patch_passes(verifier: PatchVerifier, check: PatchCheck) -> None:
    verdict = await verifier.verify(Claim(f"I add to what is there.\n\n```diff\n{FIX}```\nDone."), with_hidden(check))
    assert (verdict.status, verdict.score, verdict.feedback) == (Status.PASS, 1.0, "")
    tests = told(verdict, "tests")
    assert tests["fixed"] == [AGAIN]
    assert (tests["must_pass"], tests["must_not_break"]) == ([1, 1], [6, 6])
    assert told(verdict, "hidden tests")["must_pass"] == [2, 2]


async def test_whole_files_are_a_patch_too(verifier: PatchVerifier, check: PatchCheck) -> None:
    fixed = CART.replace("(price, quantity)\n", "(price, self._lines.get(name, (0, 0))[1] + quantity)\n")
    verdict = await verifier.verify(Claim(f"Here it is:\n\n`src/shop/cart.py`\n```python\n{fixed}```\n"), check)
    assert verdict.passed, verdict.feedback


async def test_a_patch_that_breaks_tests_fails_and_is_told_which(verifier: PatchVerifier, check: PatchCheck) -> None:
    verdict = await verifier.verify(Claim(BREAKING, bare=True), check)
    assert verdict.status is Status.FAIL
    assert "tests/test_cart.py::test_total" in told(verdict, "tests")["broken"]
    record = told(verdict, "test tests/test_cart.py::test_total")
    assert (record["change"], record["before"], record["after"]) == ("broken", "passed", "failed")
    assert "assert 80 == 110" in record["detail"]
    assert "assert 80 == 110" in verdict.feedback
    assert "against the original files" in verdict.feedback


async def test_tests_that_may_break_are_not_looked_at(verifier: PatchVerifier, check: PatchCheck) -> None:
    patch = FIX.replace("had + quantity)", "had + quantity)\n+        if not had and name == 'pear': raise OSError")
    narrow = replace(check, must_not_break=("tests/test_cart.py::test_discount", "tests/test_cart.py::test_remove"))
    assert not (await verifier.verify(Claim(patch, bare=True), check)).passed
    verdict = await verifier.verify(Claim(patch, bare=True), narrow)
    assert verdict.passed, verdict.feedback
    assert told(verdict, "tests")["must_not_break"] == [4, 4]


async def test_nothing_of_hidden_tests_is_told(verifier: PatchVerifier, check: PatchCheck) -> None:
    reads = "import glob; print([open(path).read() for path in glob.glob('/tmp/repository/tests/*hidden.py')])"
    names = "--- a/src/shop/__init__.py\n+++ b/src/shop/__init__.py\n"
    spy = f"{SPECIAL}{names}@@ @@\n+{reads}\n from shop.cart import Cart\n"
    for patch in (SPECIAL, spy):
        verdict = await verifier.verify(Claim(patch, bare=True), with_hidden(check))
        assert verdict.status is Status.FAIL
        assert 0 < verdict.score < 1
        assert "1 hidden test fails" in verdict.feedback
        whole = f"{verdict.evidence} {verdict.feedback}"
        for secret in ("many_times", "plum", "test_hidden.py::", "12, 60"):
            assert secret not in whole


async def test_hidden_files_are_not_there_while_other_tests_run(verifier: PatchVerifier, check: PatchCheck) -> None:
    looking = "        import os\n+        assert not os.path.exists('/tmp/repository/tests/test_hidden.py')\n+"
    patch = FIX.replace("+        _, had", f"+{looking}        _, had")
    assert (await verifier.verify(Claim(patch, bare=True), check)).passed
    verdict = await verifier.verify(Claim(patch, bare=True), with_hidden(check))
    assert told(verdict, "tests")["must_pass"] == [1, 1]
    assert told(verdict, "hidden tests")["must_pass"] == [0, 2]


async def test_tests_that_the_repository_does_not_hold_yet(verifier: PatchVerifier, check: PatchCheck) -> None:
    new = "from shop.prices import euro\n\n\ndef test_euro():\n    assert euro(5) == '0.05 €'\n"
    later = replace(check, must_pass=("tests/test_prices.py::test_euro",), files=(("tests/test_prices.py", new),))
    wrong, right = (
        f"--- /dev/null\n+++ b/src/shop/prices.py\n@@ -0,0 +1,2 @@\n+def euro(cents):\n+    return {text}\n"
        for text in ("'5 €'", "f'{cents / 100:.2f} €'")
    )
    verdict = await verifier.verify(Claim(wrong, bare=True), later)
    assert (verdict.status, told(verdict, "tests")["failing"]) == (Status.FAIL, ["tests/test_prices.py::test_euro"])
    assert "'5 €' == '0.05 €'" in verdict.feedback
    assert (await verifier.verify(Claim(right, bare=True), later)).passed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I cannot.", "no patch"),
        ("```python\nx = 1\n```", "no patch"),
        (
            "```diff\n--- a/tests/test_cart.py\n+++ b/tests/test_cart.py\n@@ -1 +0,0 @@\n-import pytest\n```",
            "protected",
        ),
        ("```diff\n--- a/src/shop/cart.py\n+++ b/src/shop/cart.py\n@@ -1 +1 @@\n-no\n+yes\n```", "does not apply"),
        ("```../x.py\nx\n```", "empty part"),
    ],
)
async def test_what_is_no_patch_of_it_fails_before_anything_runs(
    verifier: PatchVerifier, check: PatchCheck, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    monkeypatch.setattr(module, "run_tests", None)
    verdict = await verifier.verify(Claim(text), check)
    assert (verdict.status, verdict.score) == (Status.FAIL, 0.0)
    assert why in verdict.feedback


async def test_a_module_that_cannot_be_imported_is_shown(verifier: PatchVerifier, check: PatchCheck) -> None:
    verdict = await verifier.verify(Claim(FIX.replace("+        _, had", "+        _ had"), bare=True), check)
    assert "SyntaxError" in verdict.feedback
    assert told(verdict, "tests")["must_pass"] == [0, 1]


@pytest.mark.slow
async def test_a_run_that_takes_too_long_fails_and_names_the_test(verifier: PatchVerifier, check: PatchCheck) -> None:
    patch = FIX.replace("had + quantity)", "had + quantity)\n+        while had: pass")
    verdict = await verifier.verify(Claim(patch, bare=True), replace(check, limits=PatchLimits(2, 128)))
    assert f", in {AGAIN}." in verdict.feedback
    assert told(verdict, "tests")["must_not_break"] == [6, 6]


async def test_packages_come_from_a_directory_by_name(verifier: PatchVerifier, stores: Path, check: PatchCheck) -> None:
    packages = stores / "environments" / "money"
    packages.mkdir(parents=True, exist_ok=True)
    (packages / "money.py").write_text("WORTH = 3\n")
    patch = FIX.replace("had + quantity", "money.WORTH if had else quantity").replace(
        "+        _, had", "+        import money\n+        _, had"
    )
    assert not (await verifier.verify(Claim(patch, bare=True), check)).passed
    verdict = await verifier.verify(Claim(patch, bare=True), replace(check, environment="money"))
    assert verdict.passed, verdict.feedback
    assert PACKAGES not in str(verdict.evidence)


async def test_the_run_without_a_patch_is_made_once(
    verifier: PatchVerifier, check: PatchCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    async def counted(*arguments: Any) -> Any:
        runs.append(len(arguments[3]))
        return await run(*arguments)

    run = module.run_tests
    monkeypatch.setattr(module, "run_tests", counted)
    fresh = replace(check, limits=PatchLimits(21, 128))
    verdicts = await asyncio.gather(*(verifier.verify(Claim(FIX, bare=True), fresh) for _ in range(3)))
    assert all(verdict.passed for verdict in verdicts)
    assert sorted(runs) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"repository": "0" * 64}, "repository"),
        ({"must_pass": ("tests/test_none.py::test_x",)}, "must_pass[0]"),
        ({"must_not_break": ("src/none",)}, "must_not_break[0]"),
        ({"environment": "none"}, "environment"),
        ({"limits": PatchLimits(memory_mib=1 << 20)}, "limits.memory_mib"),
        ({"files": (("src/shop", ""),)}, "files"),
    ],
)
async def test_a_check_that_nothing_could_pass_is_refused(
    verifier: PatchVerifier, check: PatchCheck, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldError) as refused:
        await verifier.validate_check(replace(check, **change))
    assert refused.value.field == f"check.patch.{field}"


async def test_a_command_that_runs_no_test_is_the_checks_fault(verifier: PatchVerifier, check: PatchCheck) -> None:
    with pytest.raises(FieldError, match="unrecognized arguments: --fast"):
        await verifier.verify(Claim(FIX, bare=True), replace(check, command=("pytest", "--fast")))


ENDS = "import os\n\ndef test_first(): pass\n\ndef test_ends(): os._exit(1)\n\ndef test_last(): pass\n"


async def test_a_run_without_a_patch_that_breaks_off_says_nothing_of_what_comes_behind(
    verifier: PatchVerifier, stores: Path
) -> None:
    files = {"src.txt": "a\n", "tests/test_it.py": ENDS}
    name = store(pack_files(files), stores / "repositories")
    check = PatchCheck(name, ("tests/test_it.py::test_first",), limits=PatchLimits(20, 128))
    claim = Claim("--- a/src.txt\n+++ b/src.txt\n@@ -1 +1 @@\n-a\n+b\n", bare=True)
    for reached in ((), ("tests/test_it.py",)):
        with pytest.raises(FieldError, match="does not come to its end"):
            await verifier.verify(claim, replace(check, must_not_break=reached))
    verdict = await verifier.verify(claim, replace(check, must_not_break=("tests/test_it.py::test_first",)))
    assert verdict.passed, verdict.evidence


async def test_the_callers_time_is_kept(verifier: PatchVerifier, check: PatchCheck) -> None:
    verdict = await verifier.verify(Claim(FIX, bare=True), replace(check, limits=PatchLimits(22, 128)), timeout=0.01)
    assert verdict.status is Status.ERROR


async def test_larger_repositories_have_room(verifier: PatchVerifier, stores: Path) -> None:
    files = {f"data/{n}.txt": str(n) * 200_000 for n in range(100, 140)} | {f"many/{n}": "" for n in range(5000)}
    tests = "from pathlib import Path\n\n\ndef test_it():\n    assert Path('src.txt').read_text() == 'b\\n'\n"
    name = store(pack_files({**files, "src.txt": "a\n", "tests/test_it.py": tests}), stores / "repositories")
    check = PatchCheck(name, ("tests/test_it.py::test_it",), limits=PatchLimits(20, 128))
    verdict = await verifier.verify(Claim("--- a/src.txt\n+++ b/src.txt\n@@ -1 +1 @@\n-a\n+b\n", bare=True), check)
    assert verdict.passed, verdict.evidence


async def test_unittest_and_scripts_of_the_repository_run_too(verifier: PatchVerifier, stores: Path) -> None:
    tests = """
import subprocess
import unittest


class ScriptTest(unittest.TestCase):
    def setUp(self):
        self.said = subprocess.run(["./bin/greet"], capture_output=True, text=True).stdout

    def test_greets(self):
        self.assertEqual(self.said, "hello\\n")

    def test_greets_in_one_line(self):
        with self.subTest("lines"):
            self.assertEqual(self.said.count("\\n"), 1)
"""
    greets = "diff --git a/bin/greet b/bin/greet\n{}--- {}\n+++ b/bin/greet\n@@ @@\n{}+print('{}')\n"
    name = store(
        pack_files({"test_script.py": tests, "bin/greet": "#!/usr/bin/python3\nprint('hi')\n"}), stores / "repositories"
    )
    check = PatchCheck(name, ("test_script.py::ScriptTest::test_greets",), limits=PatchLimits(20, 128))
    for said, passes in (("hello", True), ("bye", False)):
        patch = greets.format(
            "old mode 100644\nnew mode 100755\n", "a/bin/greet", " #!/usr/bin/python3\n-print('hi')\n", said
        )
        verdict = await verifier.verify(Claim(patch, bare=True), check)
        assert verdict.passed is passes, verdict.evidence


async def test_every_interpreter_orders_sets_alike(verifier: PatchVerifier, stores: Path) -> None:
    tests = f"""
import subprocess
import sys
from pathlib import Path

SHOW = "print(list({SET}), end='')"


def test_the_process_of_the_tests():
    assert str(list({SET})) == Path("order.txt").read_text()


def test_a_child_of_it():
    said = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True).stdout
    assert said == Path("order.txt").read_text()
"""
    name = store(pack_files({"order.txt": "none", "tests/test_order.py": tests}), stores / "repositories")
    check = PatchCheck(name, ("tests/test_order.py",), limits=PatchLimits(20, 128))
    patch = f"--- a/order.txt\n+++ b/order.txt\n@@ -1 +1 @@\n-none\n\\ No newline\n+{fixed_order()}\n\\ No newline\n"
    verdict = await verifier.verify(Claim(patch, bare=True), check)
    assert verdict.passed, verdict.feedback


async def test_a_newer_pytest_among_the_packages_is_used(
    verifier: PatchVerifier, stores: Path, check: PatchCheck
) -> None:
    packages = stores / "environments" / "newer"
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        found = find_spec(name)
        assert found is not None and found.origin is not None
        copytree(Path(found.origin).parent, packages / name, dirs_exist_ok=True)
    version = f"import pytest\n\n\ndef test_version():\n    assert pytest.__version__ == {pytest.__version__!r}\n"
    newer = replace(
        check,
        must_pass=(*check.must_pass, "tests/test_version.py"),
        files=(("tests/test_version.py", version),),
        environment="newer",
    )
    verdict = await verifier.verify(Claim(FIX, bare=True), newer)
    assert verdict.passed, verdict.evidence
    forged = f"```src/shop/cart.py\n{CART}\nfrom _pytest.runner import CallInfo\nCallInfo.from_call = None\n```"
    verdict = await verifier.verify(Claim(forged, bare=True), newer)
    assert "CallInfo.from_call" in verdict.feedback
