"""What a worker does with a request: JSON values in, JSON values out. Runs only inside a worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from espalier.verifiers.check import Constraint, Domain, MathOptions, NumberUse, Relation
from espalier.verifiers.math.constraints import fault_of, satisfies
from espalier.verifiers.math.equivalence import canonical, equivalent
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.outcome import TOO_COSTLY, UNREADABLE, Equality, doubt
from espalier.verifiers.math.parameters import integers
from espalier.verifiers.math.parser import readings
from espalier.verifiers.math.plain import is_plain
from espalier.verifiers.math.recognise import recognise
from espalier.verifiers.math.steps import check_steps
from espalier.verifiers.math.tree import Node, Permutation, Quantity, show, walk

JsonObject = dict[str, Any]

_PROVED_PAIRS = 4
"""Most pairs of readings that go to sympy: their time adds up."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One side of a comparison: its readings, or why there are none.

    Attributes:
        readings: How it is read.
        unsure: Further readings; an equality in one of them is doubt.
        fault: Why there are no readings.
    """

    readings: tuple[Node, ...]
    unsure: tuple[Node, ...] = ()
    fault: str = ""

    @property
    def shown(self) -> str:
        every = self.readings + self.unsure
        return " | ".join(show(node)[:200] for node in every) if every else f"unparsed: {self.fault}"


def read(text: str) -> Parsed:
    """Parse one side; a text that cannot be parsed is data, not an exception."""
    try:
        found = readings(text)
    except (ParseError, LimitError) as error:
        return Parsed((), fault=str(error))
    return Parsed(found.sure, found.unsure)


class NeedsTimeError(Exception):
    """A comparison needs more than a quick look."""


def compare(gold: Parsed, claim: Parsed, options: MathOptions, *, quick: bool = False) -> Equality:
    """Compare in every pair of readings: equal if one pair is, different if all are; doubt where only an unsure
    reading is equal.

    Raises:
        NeedsTimeError: Only where `quick`: what is left to do takes sympy.
    """
    if not gold.readings:
        return Equality(None, f"the reference cannot be read: {gold.fault}")
    if not claim.readings:
        return Equality(False, f"the answer cannot be read: {claim.fault}", cause=UNREADABLE)
    if (permuted := _as_permutations(gold, claim, options)) is not None:
        return permuted
    lefts, rights = gold.readings, claim.readings
    if all(_has_unit(readings[0]) for readings in (lefts, rights)):  # "0 K" is no product where both sides have units
        lefts, rights = (tuple(filter(_has_unit, readings)) for readings in (lefts, rights))
    pairs = [(left, right) for left in lefts for right in rights]
    outcomes: list[Equality] = []
    for left, right in pairs:
        outcome = equivalent(left, right, options)
        if outcome.equal:
            return outcome
        outcomes.append(outcome)
    if len(pairs) <= _PROVED_PAIRS:
        if quick and any(
            _provable(left, right, outcome) for (left, right), outcome in zip(pairs, outcomes, strict=True)
        ):
            raise NeedsTimeError
        outcomes = [_proved(left, right, outcome) for (left, right), outcome in zip(pairs, outcomes, strict=True)]
    by_merit = {True: 0, None: 1, False: 2}
    best = min(outcomes, key=lambda outcome: (by_merit[outcome.equal], not outcome.doubtful))
    if best.equal is not True and (gold.unsure or claim.unsure):
        others = [
            (left, right)
            for left in (*lefts, *gold.unsure)
            for right in (*rights, *claim.unsure)
            if left in gold.unsure or right in claim.unsure
        ]
        if any(equivalent(left, right, options).equal for left, right in others):
            return doubt("equal only in another reading of one side")
    if best.equal is None and not best.doubtful and is_plain(gold.readings[0]):
        return Equality(False, f"the answer has no form that can be compared: {best.rule}", cause=TOO_COSTLY)
    return best


def _as_permutations(gold: Parsed, claim: Parsed, options: MathOptions) -> Equality | None:
    """Compare where both sides are written in cycles, and one may be nothing else or they differ so; else None."""
    cycles = [
        next((node for node in (*side.readings, *side.unsure) if isinstance(node, Permutation)), None)
        for side in (gold, claim)
    ]
    if cycles[0] is None or cycles[1] is None:
        return None
    compared = equivalent(cycles[0], cycles[1], options)
    if cycles[0] in gold.readings or cycles[1] in claim.readings:
        return compared
    products = equivalent(gold.readings[0], claim.readings[0], options)
    return products if products.equal is compared.equal else doubt("products of numbers, or of cycles")


def _has_unit(node: Node) -> bool:
    return any(isinstance(part, Quantity) for part in walk(node))


def _provable(gold: Node, claim: Node, outcome: Equality) -> bool:
    return not outcome.doubtful and (outcome.equal is None or bool(integers(gold) | integers(claim)))


def _proved(gold: Node, claim: Node, outcome: Equality) -> Equality:
    """What sympy makes of an undecided comparison, or of a difference seen where a parameter was not whole."""
    if not _provable(gold, claim, outcome):
        return outcome
    # Imported on first use: it takes 0.27 s on top of the 0.16 s that a worker takes to start, and few answers need it.
    from espalier.verifiers.math.symbolic import decide

    proved = decide(gold, claim)
    return outcome if proved.equal is None else proved


def _equivalent(request: JsonObject) -> JsonObject:
    gold, claim = read(request["gold"]), read(request["claim"])
    outcome = compare(gold, claim, MathOptions(**request["options"]), quick=request.get("quick", False))
    return {
        "equal": outcome.equal,
        "rule": outcome.rule,
        "cause": outcome.cause,
        "gold": gold.shown,
        "claim": claim.shown,
    }


def _constraints(request: JsonObject) -> JsonObject:
    claim = read(request["claim"])
    constraints = [_constraint(dict(part)) for part in request["constraints"]]
    if not constraints and (recognised := recognise(request["problem"])) is not None:
        constraints = list(recognised.constraints)
    rules: list[str] = []
    violated = ""
    satisfied = 0
    for constraint in constraints:
        outcomes = [_tested(node, satisfies(node, constraint)) for node in (*claim.readings, *claim.unsure)]
        best = next((o for o in outcomes if o.equal), None) or next((o for o in outcomes if o.equal is None), None)
        outcome = best or (outcomes[0] if outcomes else Equality(False, f"the answer cannot be read: {claim.fault}"))
        rules.append(f"{_named(constraint)}: {outcome.rule}")
        satisfied += outcome.equal is True
        if outcome.equal is False:
            violated = violated or outcome.rule
    decisive = any(not isinstance(constraint, Domain) for constraint in constraints)
    return {
        "claim": claim.shown,
        "rules": rules,
        "violated": violated,
        "satisfied": satisfied == len(constraints),
        "decisive": decisive,
    }


def _faults(request: JsonObject) -> JsonObject:
    faults = [fault_of(_constraint(dict(part))) for part in request["constraints"]]
    return {"faults": [(place, fault) for place, fault in enumerate(faults) if fault]}


def _read(request: JsonObject) -> JsonObject:
    return {"fault": read(request["text"]).fault}


def _tested(claim: Node, outcome: Equality) -> Equality:
    """A test that could not be made because the answer is no value fails."""
    if outcome.equal is not None or is_plain(claim):
        return outcome
    return Equality(False, f"the answer is no value that can be tested: {outcome.rule}")


def _canonical(request: JsonObject) -> JsonObject:
    claim = read(request["text"])
    if len(claim.readings) != 1 or claim.unsure:
        return {"key": "text " + " ".join(request["text"].split())}
    return {"key": canonical(claim.readings[0])}


def _steps(request: JsonObject) -> JsonObject:
    report = check_steps(request["text"])
    return {"tested": report.tested, "false": list(report.false), "score": report.score}


def _named(constraint: Constraint) -> str:
    match constraint:
        case NumberUse(numbers, target):
            return f"{target} from {', '.join(numbers)}"
        case Relation(text):
            return text
        case Domain(name):
            return name


def _constraint(part: JsonObject) -> Constraint:
    match part.pop("kind"):
        case "NumberUse":
            return NumberUse(tuple(part["numbers"]), part["target"], part["use_all"], tuple(part["operators"]))
        case "Relation":
            return Relation(**part)
        case "Domain":
            return Domain(**part)
        case kind:
            raise ValueError(f"unknown constraint {kind}")


TASKS: dict[str, Callable[[JsonObject], JsonObject]] = {
    "equivalent": _equivalent,
    "constraints": _constraints,
    "faults": _faults,
    "read": _read,
    "steps": _steps,
    "canonical": _canonical,
}


def handle(request: JsonObject) -> JsonObject:
    """Do one task. Trouble with the claim is part of the answer; a bug is reported as `error`."""
    try:
        return TASKS[request["task"]](request)
    except NeedsTimeError:
        return {"too_costly": "it needs proofs by sympy"}
    except RecursionError:
        return {"too_costly": "the tree is too deep"}
    except MemoryError:
        return {"too_costly": "out of memory"}
    except Exception as error:  # the boundary of the worker: every bug becomes one ERROR verdict
        return {"error": f"{type(error).__name__}: {error}"}
