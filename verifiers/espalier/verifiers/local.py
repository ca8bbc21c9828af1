"""Every verifier of this process behind one door: routing, start and close, self-checks, a second try after ERROR."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points, version
from types import TracebackType
from typing import Protocol, Self, TypeVar, runtime_checkable

import structlog

from espalier.common.errors import FieldError, UnansweredError
from espalier.verifiers.answer import answer_of, no_answer
from espalier.verifiers.check import Check, Claim, CustomCheck, MathOptions
from espalier.verifiers.consensus import EquivalenceClass, vote
from espalier.verifiers.info import VerifierInfo
from espalier.verifiers.proto import KIND_NAMES
from espalier.verifiers.verdict import Evidence, Status, Verdict
from espalier.verifiers.verifier import Verifier
from espalier.verifiers.vote import Vote

_T = TypeVar("_T")

GROUP = "espalier.verifiers"
"""Entry-point group by which other packages bring verifiers."""

BUILT_IN = (
    EntryPoint("math", "espalier.verifiers.math.verifier:MathVerifier", GROUP),
    EntryPoint("code", "espalier.verifiers.code.verifier:CodeVerifier", GROUP),
)

SELF_CHECK_SECONDS = 60.0
"""A self-check that takes longer has failed."""

MIN_RETRY_SECONDS = 0.05
"""With less time left, an ERROR is not tried again."""

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
        """PASS when they are, FAIL when they are not, UNKNOWN when that could not be decided."""
        ...

    async def classes(
        self, answers: Sequence[str], weights: Sequence[float] | None = None, options: MathOptions | None = None
    ) -> tuple[EquivalenceClass, ...]:
        """Group answers by equivalence, the heaviest class first."""
        ...


class LocalVerifiers:
    """Routes each check to the verifier of its kind; itself a verifier of all their kinds.

    A verifier starts when it is first needed, or all of them with `check`. Use as an async context manager: leaving it
    closes every verifier that has started.
    """

    name = "hub"

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        """
        Raises:
            ValueError: Two verifiers have one name or judge one kind of check.
        """
        self._seats: dict[str, _ManagedVerifier] = {}
        self._by_kind: dict[type, _ManagedVerifier] = {}
        for verifier in verifiers:
            if verifier.name in self._seats:
                raise ValueError(f"two verifiers are called {verifier.name!r}")
            seat = self._seats[verifier.name] = _ManagedVerifier(verifier)
            for kind in verifier.kinds - {CustomCheck}:
                other = self._by_kind.setdefault(kind, seat)
                if other is not seat:
                    raise ValueError(
                        f"{other.verifier.name!r} and {verifier.name!r} both judge {KIND_NAMES[kind]} checks: "
                        "choose one of them by name"
                    )

    @property
    def kinds(self) -> frozenset[type]:
        """Kinds of check that some verifier here judges."""
        return frozenset[type]().union(*(seat.verifier.kinds for seat in self._seats.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every verifier that has started; one that fails to does not keep the others open."""
        for seat in reversed(self._seats.values()):
            await seat.close()

    async def check(self) -> tuple[VerifierInfo, ...]:
        """Start and self-check every verifier, and say what came of it."""
        await asyncio.gather(*(seat.check() for seat in self._seats.values()))
        return await self.describe()

    async def describe(self) -> tuple[VerifierInfo, ...]:
        """Every verifier with the outcome of its last self-check."""
        return tuple(seat.info() for seat in self._seats.values())

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim; an ERROR is tried once more while there is time.

        Raises:
            FieldError: No verifier here judges such checks, or a verifier cannot work with its parameters.
        """
        seat = self._route(check)
        if isinstance(check, CustomCheck) and not claim.bare:
            answer = answer_of(claim, check)
            if answer is None:
                return no_answer(check)
            claim = replace(claim, text=answer.text, bare=True)
        return await seat.twice(lambda left: seat.verifier.verify(claim, check, timeout=left), timeout)

    async def equivalent(
        self, a: str, b: str, options: MathOptions | None = None, *, timeout: float | None = None
    ) -> Verdict:
        """Are two answers the same? PASS, FAIL, or UNKNOWN when that could not be decided."""
        seat, comparer = self._comparer()
        return await seat.twice(lambda _: comparer.equivalent(a, b, options), timeout)

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
        seat, comparer = self._comparer()
        answers = [answer_of(claim, None) for claim in claims]
        voting = [index for index, answer in enumerate(answers) if answer is not None]
        texts = [answer.text for answer in answers if answer is not None]
        votes = None if weights is None else [weights[index] for index in voting]
        found = await seat.fenced(lambda: comparer.classes(texts, votes, options), timeout)
        classes = [replace(one, members=tuple(voting[member] for member in one.members)) for one in found]
        return tuple(map(Vote, classes, vote(classes)))

    def _route(self, check: Check) -> _ManagedVerifier:
        if isinstance(check, CustomCheck):
            seat = self._seats.get(check.verifier)
            if seat is None or CustomCheck not in seat.verifier.kinds:
                names = [name for name, seat in self._seats.items() if CustomCheck in seat.verifier.kinds]
                raise FieldError(
                    "check.custom.verifier",
                    f"no verifier called {check.verifier[:80]!r} takes custom checks; there are: {_listed(names)}",
                )
            return seat
        seat = self._by_kind.get(type(check))
        if seat is None:
            kinds = sorted(KIND_NAMES[kind] for kind in self.kinds)
            raise FieldError(
                "check.kind", f"no verifier here judges {KIND_NAMES[type(check)]} checks; there are: {_listed(kinds)}"
            )
        return seat

    def _comparer(self) -> tuple[_ManagedVerifier, Comparing]:
        for seat in self._seats.values():
            if isinstance(seat.verifier, Comparing):
                return seat, seat.verifier
        raise FieldError("options", "no verifier here compares answers")


class _ManagedVerifier:
    """One verifier of a hub: its life, its health, and the fence around what it may do wrong."""

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

    async def twice(self, judge: Callable[[float | None], Awaitable[Verdict]], timeout: float | None) -> Verdict:
        """The first verdict that is not ERROR, of at most two."""
        clock = asyncio.get_running_loop().time
        deadline = None if timeout is None else clock() + timeout
        verdict = await self._guarded(judge, timeout)
        if verdict.status is not Status.ERROR:
            return verdict
        left = None if deadline is None else deadline - clock()
        if left is not None and left < MIN_RETRY_SECONDS:
            return verdict
        return await self._guarded(judge, left)

    async def fenced(self, work: Callable[[], Awaitable[_T]], timeout: float | None) -> _T:
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

    async def _guarded(self, judge: Callable[[float | None], Awaitable[Verdict]], timeout: float | None) -> Verdict:
        """The verdict, or ERROR for whatever else comes of it."""
        name = self.verifier.name
        try:
            verdict = await self.fenced(lambda: judge(timeout), timeout)
        except UnansweredError as error:
            rule = "timeout" if isinstance(error.__cause__, TimeoutError) else "exception"
            return Verdict(Status.ERROR, 0.0, name, (Evidence(rule, str(error)),))
        if not isinstance(verdict, Verdict):
            answered = f"answered a {type(verdict).__name__} instead of a verdict"
            return Verdict(Status.ERROR, 0.0, name, (Evidence("protocol", answered),))
        return verdict

    async def close(self) -> None:
        self._closed = True  # who still asks must not start it again: nobody would close it any more
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
    return str(getattr(verifier, "version", version("espalier-npr") if own else ""))


def _grace(timeout: float) -> float:
    """How much later than told a verifier may answer before it is cut off."""
    return min(0.1, 0.1 * timeout)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_REASON]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
