"""Judges patches of a repository by running its tests, in a sandbox."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from espalier.common.errors import FieldError
from espalier.verifiers.answer import answer_of, no_answer
from espalier.verifiers.check import Check, Claim, PatchCheck
from espalier.verifiers.code.lazy import LazySandbox
from espalier.verifiers.code.sandbox import Sandbox, SandboxError
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.patch.changes import Change, changes_of
from espalier.verifiers.patch.diff import PatchError
from espalier.verifiers.patch.judgement import Baseline, Part, judge, parts_of, refused, verdict_of
from espalier.verifiers.patch.repository import Repository, RepositoryError, load, pack_files
from espalier.verifiers.patch.run import TestRun, run_tests
from espalier.verifiers.patch.settings import PatchSettings
from espalier.verifiers.paths import PROTECTED, file_of, is_among
from espalier.verifiers.verdict import Evidence, Status, Verdict

BASELINES = 64
"""Checks whose run without a patch is remembered."""

GOLD = {
    "adding.py": "def add(a, b):\n    return a - b\n",
    "tests/test_adding.py": "from adding import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
}


GOLD_PATCH = """--- a/adding.py
+++ b/adding.py
@@ -1,2 +1,2 @@
 def add(a, b):
-    return a - b
+    return a {} b
"""


class PatchVerifier:
    """Applies the patch of a claim to a repository and runs its tests, in a single-use box.

    PASS when every test that must pass does, and none that must not break has; FAIL when one does not, when the patch
    does not apply or touches what it must not; ERROR when the sandbox failed or the caller's time is up. The score is
    the share of the tests that must pass and do, times the share of those that must not break and have not. Use it as
    an async context manager, or call `start` and `close`.

    Args:
        settings: Where repositories and packages are; read from the environment when None.
        sandbox_settings: How to set the sandbox up, likewise.
        sandbox: A started sandbox to use instead; it stays the caller's to close.
    """

    name = "patch"
    kinds: frozenset[type] = frozenset({PatchCheck})

    def __init__(
        self,
        settings: PatchSettings | None = None,
        sandbox_settings: SandboxSettings | None = None,
        *,
        sandbox: Sandbox | None = None,
    ) -> None:
        self._settings = settings or PatchSettings()
        self._sandbox_settings = (sandbox_settings or SandboxSettings()).model_copy(update={"warm": 0})
        self._sandbox = LazySandbox(self._sandbox_settings, sandbox)
        self._baselines: OrderedDict[tuple[PatchCheck, Part], asyncio.Task[Baseline]] = OrderedDict()
        self._proved = False

    @property
    def limits(self) -> dict[str, str]:
        """Limits worth telling a client."""
        return {"max_memory_mib": str(self._sandbox_settings.max_memory_mib)}

    async def start(self) -> None:
        """Open the sandbox, once.

        Raises:
            SandboxError: None is to be had; says what to install or start.
        """
        await self._sandbox.started()

    async def close(self) -> None:
        """End what runs, and close the sandbox that `start` opened."""
        for task in self._baselines.values():
            task.cancel()
        await asyncio.gather(*self._baselines.values(), return_exceptions=True)
        self._baselines.clear()
        await self._sandbox.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim.

        Raises:
            FieldError: The repository or the packages are not here, a test's file does not exist, or no test runs
                without a patch.
        """
        if not isinstance(check, PatchCheck):
            raise FieldError("check", f"the patch verifier judges patch checks, not {type(check).__name__}")
        answer = answer_of(claim, check)
        if answer is None:
            return no_answer(check)
        try:
            async with asyncio.timeout(timeout):
                repository = await self._repository(check)
                return await self._judge(answer.text, check, repository)
        except TimeoutError:
            return _error(f"no verdict within the caller's {timeout:.3g} s")
        except SandboxError as error:
            return _error(str(error))

    async def validate_check(self, check: Check) -> None:
        """Refuse a check that no patch could ever pass; needs no sandbox.

        Raises:
            FieldError: As `verify`, but for tests that do not run.
        """
        if isinstance(check, PatchCheck):
            await self._repository(check)

    async def self_check(self) -> list[str]:
        """Accept a right patch and reject a wrong one; what went wrong, nothing when all is well. Once this has been
        shown, the health of the sandbox is asked for alone.
        """
        health = await (await self._sandbox.started()).health()
        if not health.ok:
            return [health.detail]
        if self._proved:
            return []
        repository, check = Repository(pack_files(GOLD)), PatchCheck("", ("tests/test_adding.py::test_add",))
        faults = []
        for operator, status in (("+", Status.PASS), ("*", Status.FAIL)):
            verdict = await self._judge(GOLD_PATCH.format(operator), check, repository)
            if verdict.status is not status:
                faults.append(f"gold patch with '{operator}': {verdict.status}, not {status}; {verdict.evidence}")
        self._proved = not faults
        return faults

    async def _repository(self, check: PatchCheck) -> Repository:
        """The repository of a check, which can be judged with it."""
        if not 0 < check.limits.memory_mib <= self._sandbox_settings.max_memory_mib:
            most = self._sandbox_settings.max_memory_mib
            raise FieldError("check.patch.limits.memory_mib", f"must be in 1..{most}")
        if check.environment and not (self._settings.environments / check.environment).is_dir():
            raise FieldError(
                "check.patch.environment",
                f"this verifier has no directory {check.environment!r} of packages (ESPALIER_PATCH_ENVIRONMENTS)",
            )
        try:
            repository = await asyncio.to_thread(load, check.repository, self._settings.repositories)
        except RepositoryError as error:
            raise FieldError("check.patch.repository", str(error)) from None
        overlay = {path for path, _ in (*check.files, *check.hidden_files)}
        for path in overlay:
            if repository.is_link(path) or repository.is_directory(path):
                raise FieldError("check.patch.files", f"{path} is a link or a directory of the repository")
        for field, tests in (("must_pass", check.must_pass), ("must_not_break", check.must_not_break)):
            for i, test in enumerate(tests):
                path = file_of(test)
                if not (is_among(path, overlay) or path in repository.paths or repository.is_directory(path)):
                    raise FieldError(f"check.patch.{field}[{i}]", f"there is no {path} in the repository")
        return repository

    async def _judge(self, patch: str, check: PatchCheck, repository: Repository) -> Verdict:
        tests = (file_of(test) for test in (*check.must_pass, *check.must_not_break))
        files = (path for path, _ in (*check.files, *check.hidden_files))
        held = [path for path in (*tests, *files) if not repository.is_directory(path)]
        try:
            changes = await asyncio.to_thread(
                changes_of, patch, repository, (*PROTECTED, *check.protected_paths), frozenset(held)
            )
        except PatchError as error:
            return refused(str(error))
        results = []
        for part in parts_of(check):
            baseline = await self._baseline(check, repository, part)
            results.append(judge(part, baseline, await self._run(check, repository, part, changes)))
            if not results[-1].passed:
                break  # of hidden tests nothing more would be told
        return verdict_of(changes, results)

    async def _baseline(self, check: PatchCheck, repository: Repository, part: Part) -> Baseline:
        """What the tests come to without a patch: worked out once for all claims, however many come at once."""
        key = (check, part)
        task = self._baselines.pop(key, None)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._without_patch(check, repository, part))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._baselines[key] = task
        while len(self._baselines) > BASELINES:
            self._baselines.popitem(last=False)
        return await asyncio.shield(task)

    async def _without_patch(self, check: PatchCheck, repository: Repository, part: Part) -> Baseline:
        before = await self._run(check, repository, part, {})
        if not before.outcomes and not before.unread:
            said = before.fault or before.printed or "pytest found none"
            raise FieldError("check.patch.command", f"no test runs without a patch: {said[-500:]}")
        if before.starved:
            raise SandboxError("the machine is too busy for the run of the tests without a patch")
        if before.fault and (part.must_not_break is None or not before.outcomes.keys() >= set(part.must_not_break)):
            raise FieldError(
                "check.patch.must_not_break",
                f"the run without a patch does not come to its end ({before.fault}), so what passes without one is not "
                "known: name here, by their node ids, tests that run before that",
            )
        overlay = dict(part.overlay)
        contents = {path: repository.read(path) or b"" for path in before.unread.keys() - overlay.keys()}
        texts = {path: content.decode(errors="replace") for path, content in contents.items()}
        return Baseline.of(
            part, before, texts | {path: overlay[path] for path in before.unread.keys() & overlay.keys()}
        )

    async def _run(
        self, check: PatchCheck, repository: Repository, part: Part, changes: Mapping[str, Change]
    ) -> TestRun:
        sandbox = await self._sandbox.started()
        packages = str(self._settings.environments / check.environment) if check.environment else ""
        return await run_tests(sandbox, check, repository, changes, dict(part.overlay), part.select, packages)


def _error(trouble: str) -> Verdict:
    return Verdict(Status.ERROR, 0.0, "patch", (Evidence("sandbox", trouble),))
