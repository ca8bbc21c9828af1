"""The verifiers of this process: routing by kind of check, start and close, self-checks, a retry after ERROR."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from types import TracebackType
from typing import Protocol, Self, TypeVar, runtime_checkable

import structlog

from espalier.common.distribution import version
from espalier.common.errors import FieldError, UnansweredError
from espalier.verifiers.answer import answer_of, no_answer
from espalier.verifiers.check import Check, Claim, CustomCheck, MathOptions
from espalier.verifiers.consensus import EquivalenceClass, Vote, vote
from espalier.verifiers.proto import KIND_NAMES
from espalier.verifiers.retry import with_retry
from espalier.verifiers.verdict import Evidence, Status, Verdict
from espalier.verifiers.verifier import Verifier, VerifierInfo

_T = TypeVar("_T")

GROUP = "espalier.verifiers"
"""Entry-point group by which other packages bring verifiers."""

BUILT_IN = (
    EntryPoint("math", "espalier.verifiers.math.verifier:MathVerifier", GROUP),
    EntryPoint("code", "espalier.verifiers.code.verifier:CodeVerifier", GROUP),
    EntryPoint("patch", "espalier.verifiers.patch.verifier:PatchVerifier", GROUP),
)

SELF_CHECK_SECONDS = 60.0
"""A self-check that takes longer has failed."""

MAX_REASON = 500
"""Characters of what went wrong that are kept."""

log = structlog.get_logger()


@runtime_checkable
class Startable(Protocol):
    """A verifier that holds resources."""

    async def start(self) -> object: ...

    async def close(self) -> None: ...


@runtime_checkable
class SelfChecking(Protocol):
    """A verifier that can show that it works."""

    async def self_check(self) -> Sequence[str]:
        """Judge gold examples and bad ones; what went wrong, in words, and nothing when all is well."""
        ...


@runtime_checkable
class Comparing(Protocol):
    """A verifier that knows when two answers are the same."""

    async def equivalent(self, a: str, b: str, options: MathOptions | None = None) -> Verdict:
        """PASS when they are, FAIL when they are not, UNKNOWN when that could not be decided.

        Plain numbers are the same where their values are, see :func:`.plain_number.plain_number`: callers need not ask.
        """
        ...

    async def classes(
        self, answers: Sequence[str], weights: Sequence[float] | None = None, options: MathOptions | None = None
    ) -> tuple[EquivalenceClass, ...]:
        """Group answers by equivalence, the heaviest class first."""
        ...


@runtime_checkable
class CheckValidating(Protocol):
    """A verifier that can tell whether it can work with a check."""

    async def validate_check(self, check: Check) -> None:
        """Judge nothing; raise FieldError when no claim could ever pass the check."""
        ...


class LocalVerifiers:
    """Routes each check to the verifier of its kind; itself a verifier of all their kinds.

    A verifier starts when it is first needed, or all of them with `check`. Use as an async context manager: leaving it
    closes every verifier that has started.
    """

    name = "local"

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        """
        Raises:
            ValueError: Two verifiers have one name or judge one kind of check.
        """
        self._managed: dict[str, _ManagedVerifier] = {}
        self._by_kind: dict[type, _ManagedVerifier] = {}
        for verifier in verifiers:
            if verifier.name in self._managed:
                raise ValueError(f"two verifiers are called {verifier.name!r}")
            managed = self._managed[verifier.name] = _ManagedVerifier(verifier)
            for kind in verifier.kinds - {CustomCheck}:
                other = self._by_kind.setdefault(kind, managed)
                if other is not managed:
                    raise ValueError(
                        f"{other.verifier.name!r} and {verifier.name!r} both judge {KIND_NAMES[kind]} checks: "
                        "choose one of them by name"
                    )

    @property
    def kinds(self) -> frozenset[type]:
        """Kinds of check that some verifier here judges."""
        return frozenset[type]().union(*(managed.verifier.kinds for managed in self._managed.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every verifier that has started; one that fails to does not keep the others open."""
        for managed in reversed(self._managed.values()):
            await managed.close()

    async def check(self) -> tuple[VerifierInfo, ...]:
        """Start and self-check every verifier, and say what came of it."""
        await asyncio.gather(*(managed.check() for managed in self._managed.values()))
        return await self.describe()

    async def describe(self) -> tuple[VerifierInfo, ...]:
        """Every verifier with the outcome of its last self-check."""
        return tuple(managed.info() for managed in self._managed.values())

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim; an ERROR is asked again once while there is time.

        Raises:
            FieldError: No verifier here judges such checks, or a verifier cannot work with its parameters.
        """
        return await with_retry(lambda left: self.verify_once(claim, check, timeout=left), timeout)

    async def verify_once(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim in one attempt: for a server, whose client retries.

        Raises:
            FieldError: As :meth:`verify`.
        """
        managed = self._route(check)
        if isinstance(check, CustomCheck) and not claim.bare:
            answer = answer_of(claim, check)
            if answer is None:
                return no_answer(check)
            claim = replace(claim, text=answer.text, bare=True)
        return await managed.attempt(lambda: managed.verifier.verify(claim, check, timeout=timeout), timeout)

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        """Refuse a check that no claim could ever pass. Nothing is judged; a verifier that cannot tell accepts it.

        Raises:
            FieldError: No verifier here judges such checks, or the one that does cannot work with it.
            UnansweredError: The verifier failed, or took longer than `timeout` seconds.
        """
        managed = self._route(check)
        verifier = managed.verifier
        if isinstance(verifier, CheckValidating):
            await managed.guarded(lambda: verifier.validate_check(check), timeout)

    async def equivalent(
        self, a: str, b: str, options: MathOptions | None = None, *, timeout: float | None = None
    ) -> Verdict:
        """Are two answers the same? PASS, FAIL, or UNKNOWN when that could not be decided."""
        return await with_retry(lambda left: self.equivalent_once(a, b, options, timeout=left), timeout)

    async def equivalent_once(
        self, a: str, b: str, options: MathOptions | None = None, *, timeout: float | None = None
    ) -> Verdict:
        """:meth:`equivalent` in one attempt."""
        managed, comparer = self._comparer()
        return await managed.attempt(lambda: comparer.equivalent(a, b, options), timeout)

    async def classes(
        self,
        claims: Sequence[Claim],
        weights: Sequence[float] | None = None,
        options: MathOptions | None = None,
        *,
        timeout: float | None = None,
    ) -> tuple[Vote, ...]:
        """Partition the answers of claims into equivalence classes, the heaviest first.

        Args:
            claims: What was claimed; one that states no answer is in no class.
            weights: Of each claim's vote; 1 each when None.
            options: How answers are compared.
            timeout: Seconds for all of it.

        Raises:
            UnansweredError: It could not be done, or not in time.
        """
        managed, comparer = self._comparer()
        answers = [answer_of(claim, None) for claim in claims]
        voting = [index for index, answer in enumerate(answers) if answer is not None]
        texts = [answer.text for answer in answers if answer is not None]
        votes = None if weights is None else [weights[index] for index in voting]
        found = await managed.guarded(lambda: comparer.classes(texts, votes, options), timeout)
        classes = [replace(one, members=tuple(voting[member] for member in one.members)) for one in found]
        return tuple(map(Vote, classes, vote(classes)))

    def _route(self, check: Check) -> _ManagedVerifier:
        if isinstance(check, CustomCheck):
            managed = self._managed.get(check.verifier)
            if managed is None or CustomCheck not in managed.verifier.kinds:
                names = [name for name, managed in self._managed.items() if CustomCheck in managed.verifier.kinds]
                raise FieldError(
                    "check.custom.verifier",
                    f"no verifier called {check.verifier[:80]!r} takes custom checks; there are: {_listed(names)}",
                )
            return managed
        managed = self._by_kind.get(type(check))
        if managed is None:
            kinds = sorted(KIND_NAMES[kind] for kind in self.kinds)
            raise FieldError(
                "check.kind", f"no verifier here judges {KIND_NAMES[type(check)]} checks; there are: {_listed(kinds)}"
            )
        return managed

    def _comparer(self) -> tuple[_ManagedVerifier, Comparing]:
        for managed in self._managed.values():
            if isinstance(managed.verifier, Comparing):
                return managed, managed.verifier
        raise FieldError("options", "no verifier here compares answers")


class _ManagedVerifier:
    """One verifier: its start and end, its health, and a guard against what it may do wrong."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier
        self._startable = verifier if isinstance(verifier, Startable) else None
        self._starting: asyncio.Task[object] | None = None
        self._closed = False
        self._fault: str | None = "not checked yet"

    def info(self) -> VerifierInfo:
        verifier = self.verifier
        return VerifierInfo(
            name=verifier.name,
            version=_version(verifier),
            kinds=tuple(sorted(KIND_NAMES[kind] for kind in verifier.kinds)),
            limits={name: str(limit) for name, limit in getattr(verifier, "limits", {}).items()},
            healthy=self._fault is None,
            reason=self._fault or "",
        )

    async def check(self) -> None:
        """Start and self-check; afterwards `info` says what came of it."""
        try:
            async with asyncio.timeout(SELF_CHECK_SECONDS):
                await self._started()
                faults = await self.verifier.self_check() if isinstance(self.verifier, SelfChecking) else ()
            self._fault = "; ".join(faults)[:MAX_REASON] or None
        except TimeoutError:
            self._fault = f"the self-check took longer than {SELF_CHECK_SECONDS:.0f} s"
        except Exception as error:
            self._fault = _said(error)

    async def guarded(self, work: Callable[[], Awaitable[_T]], timeout: float | None) -> _T:
        """What the verifier's work comes to.

        Raises:
            FieldError: The verifier cannot work with the request.
            UnansweredError: An exception, or silence, is all that came.
        """
        try:
            async with asyncio.timeout(None if timeout is None else timeout + _grace(timeout)):
                await self._started()
                return await work()
        except FieldError:
            raise
        except TimeoutError as error:
            limit = "in time" if timeout is None else f"within {timeout:.3g} s"
            raise UnansweredError(f"no answer {limit}") from error
        except Exception as error:
            log.warning("verifier failed", verifier=self.verifier.name, exc_info=True)
            raise UnansweredError(_said(error)) from error

    async def attempt(self, judge: Callable[[], Awaitable[Verdict]], timeout: float | None) -> Verdict:
        """The verdict, or ERROR for whatever else comes of one attempt."""
        name = self.verifier.name
        try:
            verdict = await self.guarded(judge, timeout)
        except UnansweredError as error:
            rule = "timeout" if isinstance(error.__cause__, TimeoutError) else "exception"
            return Verdict(Status.ERROR, 0.0, name, (Evidence(rule, str(error)),))
        if not isinstance(verdict, Verdict):
            answered = f"answered a {type(verdict).__name__} instead of a verdict"
            return Verdict(Status.ERROR, 0.0, name, (Evidence("protocol", answered),))
        return verdict

    async def close(self) -> None:
        self._closed = True  # a late call must not start it again: it would not be closed any more
        starting, self._starting = self._starting, None
        if starting is None or self._startable is None:
            return
        starting.cancel()
        await asyncio.wait([starting])
        try:
            await self._startable.close()
        except Exception:
            log.warning("verifier did not close", verifier=self.verifier.name, exc_info=True)

    async def _started(self) -> None:
        """Start once for all callers; a caller that gives up does not stop the start for the others."""
        if self._startable is None:
            return
        if self._closed:
            raise RuntimeError("the verifier is closed")
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._startable.start())
        starting = self._starting
        try:
            await asyncio.shield(starting)
        except Exception:
            if self._starting is starting:
                self._starting = None
            raise


def available() -> dict[str, EntryPoint]:
    """Verifiers that can be loaded, by name: the built-in ones and those of other packages.

    Raises:
        ValueError: Two packages bring one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in (*BUILT_IN, *sorted(entry_points(group=GROUP))):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ValueError(f"{other.value} and {point.value} both bring a verifier called {point.name!r}")
    return found


def load(names: Iterable[str] | None = None) -> list[Verifier]:
    """New verifiers, not yet started.

    Args:
        names: Which; None means every available one.

    Raises:
        ValueError: A name is unknown, or what it names is no verifier.
    """
    points = available()
    return [_load(points, name) for name in (points if names is None else names)]


def _load(points: Mapping[str, EntryPoint], name: str) -> Verifier:
    if name not in points:
        raise ValueError(f"no verifier called {name!r}; there are: {_listed(points)}")
    point = points[name]
    try:
        verifier = point.load()()
    except Exception as error:
        raise ValueError(f"verifier {name!r} ({point.value}) cannot be loaded: {_said(error)}") from error
    if not isinstance(verifier, Verifier) or not set(verifier.kinds) <= KIND_NAMES.keys():
        raise ValueError(f"{point.value} is no verifier: it needs a name, the kinds of check it judges, and verify()")
    return verifier


def _version(verifier: Verifier) -> str:
    """What it says itself; the built-in ones have the version of this package."""
    own = type(verifier).__module__.partition(".")[0] == "espalier"
    return str(getattr(verifier, "version", version() if own else ""))


def _grace(timeout: float) -> float:
    """How much later than told a verifier may answer before it is cut off."""
    return min(0.1, 0.1 * timeout)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_REASON]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
