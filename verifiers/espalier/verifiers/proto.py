"""Protobuf messages to the dataclasses of this package and back.

Decoding a request is strict: the first field that no verifier could work with raises :class:`FieldError` with its path.
Decoding a reply is forgiving, because any server of the contract may have sent it: what makes no sense becomes ERROR.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError
from espalier.v1 import common_pb2 as pb
from espalier.v1 import verifier_pb2
from espalier.verifiers.check import (
    AssertCase,
    CallCase,
    Case,
    Check,
    CheckerCase,
    Claim,
    Comparison,
    Constraint,
    ConstraintCheck,
    CustomCheck,
    Domain,
    MathOptions,
    NumberUse,
    PatchCheck,
    PatchLimits,
    ProgramCheck,
    ProgramLimits,
    ReferenceCheck,
    Relation,
    RunCase,
    StdioCase,
    StepCheck,
)
from espalier.verifiers.consensus import EquivalenceClass, Vote
from espalier.verifiers.paths import file_of, path_problem
from espalier.verifiers.verdict import Evidence, Status, Verdict
from espalier.verifiers.verifier import VerifierInfo

MAX_ROUND_TO = 1000
"""Decimal places that `round_to` may ask for."""

MAX_CLAIM = 1 << 20
"""Characters of a claim, and of the problem that comes with it."""

FILE_NAME = re.compile(r"[A-Za-z_][\w.-]{0,99}", re.ASCII)
"""Names of files beside a program."""

REPOSITORY = re.compile(r"[0-9a-f]{64}")
"""What names the archive of a repository: its SHA-256."""

NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}", re.ASCII)
"""Names of images and environments."""

MAX_SECONDS = 24 * 3600.0
"""Longest time limit that a check may carry."""

KIND_NAMES: dict[type, str] = {
    ReferenceCheck: "reference",
    ConstraintCheck: "constraints",
    ProgramCheck: "program",
    PatchCheck: "patch",
    StepCheck: "steps",
    CustomCheck: "custom",
}
"""Kinds of check by the names of the fields of `Check.kind`."""

_COMPARISONS = {
    pb.COMPARISON_UNSPECIFIED: Comparison.TOKENS,
    pb.COMPARISON_EXACT: Comparison.EXACT,
    pb.COMPARISON_TOKENS: Comparison.TOKENS,
    pb.COMPARISON_FLOAT: Comparison.FLOAT,
    pb.COMPARISON_UNORDERED_LINES: Comparison.UNORDERED_LINES,
}
_COMPARISON_NUMBERS = {
    Comparison.EXACT: pb.COMPARISON_EXACT,
    Comparison.TOKENS: pb.COMPARISON_TOKENS,
    Comparison.FLOAT: pb.COMPARISON_FLOAT,
    Comparison.UNORDERED_LINES: pb.COMPARISON_UNORDERED_LINES,
}
_STATUSES = {
    pb.STATUS_PASS: Status.PASS,
    pb.STATUS_FAIL: Status.FAIL,
    pb.STATUS_UNKNOWN: Status.UNKNOWN,
    pb.STATUS_ERROR: Status.ERROR,
}
_STATUS_NUMBERS = {status: number for number, status in _STATUSES.items()}


# Requests: strict.


def decode_claim(message: pb.Claim, at: str = "claim") -> Claim:
    """A claim; every text is allowed, also none.

    Raises:
        FieldError: A text is too long to be read while other calls wait.
    """
    for name in ("text", "problem"):
        length = len(getattr(message, name))
        if length > MAX_CLAIM:
            raise FieldError(f"{at}.{name}", f"has {length} characters; give at most {MAX_CLAIM}")
    return Claim(text=message.text, bare=message.bare, problem=message.problem)


def decode_check(message: pb.Check, at: str = "check") -> Check:
    """A check of any kind.

    Raises:
        FieldError: A field is missing or out of range.
    """
    kind = message.WhichOneof("kind")
    match kind:
        case "reference":
            if not message.reference.answer.strip():
                raise FieldError(f"{at}.reference.answer", "is empty; give the expected answer")
            options = decode_options(message.reference.options, f"{at}.reference.options")
            return ReferenceCheck(message.reference.answer, options)
        case "constraints":
            return _decode_constraints(message.constraints, f"{at}.constraints")
        case "program":
            return decode_program(message.program, f"{at}.program")
        case "patch":
            return decode_patch(message.patch, f"{at}.patch")
        case "steps":
            return StepCheck()
        case "custom":
            return _decode_custom(message.custom, f"{at}.custom")
        case _:
            raise FieldError(f"{at}.kind", f"is not set; set one of {', '.join(KIND_NAMES.values())}")


def decode_options(message: pb.MathOptions, at: str = "options") -> MathOptions:
    """Math options; an absent field takes its default."""
    return MathOptions(**{**_present(message), "round_to": _decode_round_to(message, at)})


def decode_program(message: pb.ProgramCheck, at: str = "check.program") -> ProgramCheck:
    """A program check."""
    if not message.cases:
        raise FieldError(f"{at}.cases", "is empty; a program that passes no case is not verified")
    if message.comparison not in _COMPARISONS:
        raise FieldError(f"{at}.comparison", f"has the unknown value {message.comparison}")
    default = ProgramCheck(())
    tolerance = message.tolerance if message.HasField("tolerance") else default.tolerance
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise FieldError(f"{at}.tolerance", f"is {tolerance}; give a finite number of at least 0")
    stop = message.stop_at_first_failure if message.HasField("stop_at_first_failure") else default.stop_at_first_failure
    return ProgramCheck(
        cases=tuple(_decode_case(case, f"{at}.cases[{i}]") for i, case in enumerate(message.cases)),
        language=message.language or default.language,
        comparison=_COMPARISONS[message.comparison],
        tolerance=tolerance,
        stop_at_first_failure=stop,
        limits=ProgramLimits(
            **_decode_limits(
                message.limits, f"{at}.limits", ("case_seconds", "total_seconds"), ("memory_mib", "output_bytes")
            )
        ),
        files=tuple(sorted((_file_name(name, f"{at}.files"), text) for name, text in message.files.items())),
        together=message.together,
    )


def decode_patch(message: pb.PatchCheck, at: str = "check.patch") -> PatchCheck:
    """A patch check."""
    default = PatchCheck("", ())
    command = tuple(message.command) or default.command
    if not REPOSITORY.fullmatch(message.repository):
        raise FieldError(f"{at}.repository", "is no SHA-256 of an archive: 64 hexadecimal digits, as pack prints them")
    if not message.must_pass:
        raise FieldError(f"{at}.must_pass", "is empty; name a test that fails now and must pass with the patch")
    if command[0] != "pytest":
        raise FieldError(f"{at}.command", f"begins with {command[0][:80]!r}; only pytest is known, with its arguments")
    for name in ("image", "environment"):
        if (value := getattr(message, name)) and not NAME.fullmatch(value):
            raise FieldError(f"{at}.{name}", f"{value[:80]!r} is no name: letters, digits, '_', '-' and '.'")
    return PatchCheck(
        repository=message.repository,
        must_pass=_decode_tests(message.must_pass, f"{at}.must_pass"),
        must_not_break=_decode_tests(message.must_not_break, f"{at}.must_not_break"),
        command=command,
        protected_paths=tuple(
            _filled(pattern, f"{at}.protected_paths[{i}]") for i, pattern in enumerate(message.protected_paths)
        ),
        files=_decode_overlay(message.files, f"{at}.files"),
        hidden_files=_decode_overlay(message.hidden_files, f"{at}.hidden_files"),
        image=message.image or default.image,
        environment=message.environment,
        limits=PatchLimits(**_decode_limits(message.limits, f"{at}.limits", ("seconds",), ("memory_mib",))),
    )


def _decode_tests(tests: Sequence[str], at: str) -> tuple[str, ...]:
    for i, test in enumerate(tests):
        if problem := path_problem(file_of(test)):
            raise FieldError(f"{at}[{i}]", f"{test[:80]!r} names no test: its path {problem}")
    return tuple(tests)


def _decode_overlay(files: Mapping[str, str], at: str) -> tuple[tuple[str, str], ...]:
    for path in files:
        if problem := path_problem(path):
            raise FieldError(at, f"{path[:80]!r} {problem}")
    return tuple(sorted(files.items()))


def decode_weights(weights: Sequence[float], claims: int, at: str = "weights") -> tuple[float, ...]:
    """Weights of votes: as many as claims, or none for 1 each."""
    if weights and len(weights) != claims:
        raise FieldError(at, f"has {len(weights)} values for {claims} claims; give one for each, or none")
    for i, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight >= 0):
            raise FieldError(f"{at}[{i}]", f"is {weight}; give a finite number of at least 0")
    return tuple(weights) or (1.0,) * claims


def _decode_constraints(message: pb.ConstraintCheck, at: str) -> ConstraintCheck:
    if not message.constraints:
        raise FieldError(f"{at}.constraints", "is empty; nothing would be checked")
    decoded = (_decode_constraint(c, f"{at}.constraints[{i}]") for i, c in enumerate(message.constraints))
    return ConstraintCheck(tuple(decoded))


def _decode_constraint(message: pb.Constraint, at: str) -> Constraint:
    match message.WhichOneof("kind"):
        case "number_use":
            return _decode_number_use(message.number_use, f"{at}.number_use")
        case "relation":
            return _decode_relation(message.relation, f"{at}.relation")
        case "domain":
            return Domain(_filled(message.domain, f"{at}.domain"))
        case _:
            raise FieldError(f"{at}.kind", "is not set; set one of number_use, relation, domain")


def _decode_relation(message: pb.Relation, at: str) -> Relation:
    return Relation(
        text=_filled(message.text, f"{at}.text"),
        all_solutions=message.all_solutions,
        round_to=_decode_round_to(message, at),
    )


def _decode_round_to(message: pb.MathOptions | pb.Relation, at: str) -> int | None:
    if message.round_to > MAX_ROUND_TO:
        raise FieldError(f"{at}.round_to", f"is {message.round_to}; give at most {MAX_ROUND_TO} decimal places")
    return message.round_to if message.HasField("round_to") else None


def _decode_number_use(message: pb.NumberUse, at: str) -> NumberUse:
    if not message.numbers:
        raise FieldError(f"{at}.numbers", "is empty; give the numbers that the answer must use")
    default = NumberUse((), "")
    return NumberUse(
        numbers=tuple(_filled(number, f"{at}.numbers[{i}]") for i, number in enumerate(message.numbers)),
        target=_filled(message.target, f"{at}.target"),
        use_all=message.use_all if message.HasField("use_all") else default.use_all,
        operators=tuple(_filled(operator, f"{at}.operators[{i}]") for i, operator in enumerate(message.operators))
        or default.operators,
    )


def _decode_custom(message: pb.CustomCheck, at: str) -> CustomCheck:
    parameters = message.parameters_json or "{}"
    if not isinstance(_json(parameters, f"{at}.parameters_json"), dict):
        raise FieldError(f"{at}.parameters_json", "is not a JSON object")
    return CustomCheck(_filled(message.verifier, f"{at}.verifier"), parameters)


def _decode_case(message: pb.ProgramCase, at: str) -> Case:
    hidden = message.hidden
    match message.WhichOneof("kind"):
        case "stdio":
            return StdioCase(message.stdio.stdin, message.stdio.expected, hidden)
        case "call":
            call = message.call
            if not all(part.isidentifier() for part in call.function.split(".")):
                raise FieldError(f"{at}.call.function", f"{call.function[:80]!r} is not the name of a function")
            if not isinstance(_json(call.arguments_json, f"{at}.call.arguments_json"), list):
                raise FieldError(f"{at}.call.arguments_json", "is not a JSON list")
            _json(call.expected_json, f"{at}.call.expected_json")
            return CallCase(call.function, call.arguments_json, call.expected_json, hidden)
        case "asserts":
            entry_point = message.asserts.entry_point
            if entry_point and not all(part.isidentifier() for part in entry_point.split(".")):
                raise FieldError(f"{at}.asserts.entry_point", f"{entry_point[:80]!r} is not the name of a function")
            return AssertCase(_filled(message.asserts.source, f"{at}.asserts.source"), entry_point, hidden)
        case "checker":
            checker = message.checker
            source = _filled(checker.source, f"{at}.checker.source")
            return CheckerCase(checker.stdin, checker.expected, source, hidden)
        case "run":
            return RunCase(message.run.stdin, hidden)
        case _:
            raise FieldError(f"{at}.kind", "is not set; set one of stdio, call, asserts, checker, run")


def _file_name(name: str, at: str) -> str:
    if not FILE_NAME.fullmatch(name):
        raise FieldError(
            at,
            f"{name[:80]!r} is no file name: letters, digits, '_', '-' and '.', none of them first but a letter or '_'",
        )
    return name


def _decode_limits(
    message: pb.ProgramLimits | pb.PatchLimits, at: str, durations: Sequence[str], sizes: Sequence[str]
) -> dict[str, Any]:
    """The limits that are set, by name."""
    for name in durations:
        seconds = getattr(message, name)
        if message.HasField(name) and not 0 < seconds <= MAX_SECONDS:
            raise FieldError(f"{at}.{name}", f"is {seconds}; give more than 0 and at most {MAX_SECONDS:.0f}")
    for name in sizes:
        if message.HasField(name) and getattr(message, name) == 0:
            raise FieldError(f"{at}.{name}", "is 0; leave it out for the default")
    return _present(message)


def _present(message: pb.MathOptions | pb.ProgramLimits | pb.PatchLimits) -> dict[str, Any]:
    """Fields that are set, by name: the dataclasses of these messages have the same names."""
    return {field.name: value for field, value in message.ListFields()}


def _filled(text: str, at: str) -> str:
    if not text.strip():
        raise FieldError(at, "is empty")
    return text


def _json(text: str, at: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise FieldError(at, "is nested too deeply") from None
    except ValueError as error:
        raise FieldError(at, f"is not JSON: {error}") from None


def encode_claim(claim: Claim) -> pb.Claim:
    """A claim as a message."""
    return pb.Claim(text=encode_text(claim.text), bare=claim.bare, problem=encode_text(claim.problem))


def encode_check(check: Check) -> pb.Check:
    """A check as a message."""
    match check:
        case ReferenceCheck(answer, options):
            reference = pb.ReferenceCheck(answer=encode_text(answer), options=encode_options(options))
            return pb.Check(reference=reference)
        case ConstraintCheck(constraints):
            return pb.Check(constraints=pb.ConstraintCheck(constraints=map(_encode_constraint, constraints)))
        case StepCheck():
            return pb.Check(steps=pb.StepCheck())
        case ProgramCheck():
            return pb.Check(program=_encode_program(check))
        case PatchCheck():
            return pb.Check(patch=_encode_patch(check))
        case CustomCheck(verifier, parameters):
            custom = pb.CustomCheck(verifier=encode_text(verifier), parameters_json=encode_text(parameters))
            return pb.Check(custom=custom)


def encode_options(options: MathOptions) -> pb.MathOptions:
    """Math options as a message."""
    return pb.MathOptions(
        percent_as_fraction=options.percent_as_fraction,
        missing_unit_ok=options.missing_unit_ok,
        interval_as_inequality=options.interval_as_inequality,
        ordered_lists=options.ordered_lists,
        round_to=options.round_to,
    )


def _encode_constraint(constraint: Constraint) -> pb.Constraint:
    match constraint:
        case NumberUse(numbers, target, use_all, operators):
            return pb.Constraint(
                number_use=pb.NumberUse(
                    numbers=map(encode_text, numbers),
                    target=encode_text(target),
                    use_all=use_all,
                    operators=map(encode_text, operators),
                )
            )
        case Relation(text, all_solutions, round_to):
            relation = pb.Relation(text=encode_text(text), all_solutions=all_solutions, round_to=round_to)
            return pb.Constraint(relation=relation)
        case Domain(name):
            return pb.Constraint(domain=encode_text(name))


def _encode_program(check: ProgramCheck) -> pb.ProgramCheck:
    limits = check.limits
    return pb.ProgramCheck(
        language=encode_text(check.language),
        cases=map(_encode_case, check.cases),
        comparison=_COMPARISON_NUMBERS[check.comparison],
        tolerance=check.tolerance,
        files={encode_text(name): encode_text(text) for name, text in check.files},
        stop_at_first_failure=check.stop_at_first_failure,
        together=check.together,
        limits=pb.ProgramLimits(
            case_seconds=limits.case_seconds,
            total_seconds=limits.total_seconds,
            memory_mib=limits.memory_mib,
            output_bytes=limits.output_bytes,
        ),
    )


def _encode_patch(check: PatchCheck) -> pb.PatchCheck:
    return pb.PatchCheck(
        repository=encode_text(check.repository),
        command=map(encode_text, check.command),
        must_pass=map(encode_text, check.must_pass),
        must_not_break=map(encode_text, check.must_not_break),
        protected_paths=map(encode_text, check.protected_paths),
        files={encode_text(path): encode_text(text) for path, text in check.files},
        hidden_files={encode_text(path): encode_text(text) for path, text in check.hidden_files},
        image=encode_text(check.image),
        environment=encode_text(check.environment),
        limits=pb.PatchLimits(seconds=check.limits.seconds, memory_mib=check.limits.memory_mib),
    )


def _encode_case(case: Case) -> pb.ProgramCase:
    match case:
        case StdioCase(stdin, expected, hidden):
            stdio = pb.StdioCase(stdin=encode_text(stdin), expected=encode_text(expected))
            return pb.ProgramCase(stdio=stdio, hidden=hidden)
        case CallCase(function, arguments, expected, hidden):
            call = pb.CallCase(
                function=encode_text(function),
                arguments_json=encode_text(arguments),
                expected_json=encode_text(expected),
            )
            return pb.ProgramCase(call=call, hidden=hidden)
        case AssertCase(source, entry_point, hidden):
            asserts = pb.AssertCase(source=encode_text(source), entry_point=encode_text(entry_point))
            return pb.ProgramCase(asserts=asserts, hidden=hidden)
        case CheckerCase(stdin, expected, source, hidden):
            checker = pb.CheckerCase(
                stdin=encode_text(stdin), expected=encode_text(expected), source=encode_text(source)
            )
            return pb.ProgramCase(checker=checker, hidden=hidden)
        case RunCase(stdin, hidden):
            return pb.ProgramCase(run=pb.RunCase(stdin=encode_text(stdin)), hidden=hidden)


# Replies: forgiving.


def encode_verdict(verdict: Verdict) -> pb.Verdict:
    """A verdict as a message."""
    return pb.Verdict(
        status=_STATUS_NUMBERS[verdict.status],
        score=verdict.score,
        decided_by=encode_text(verdict.decided_by),
        evidence=(pb.Evidence(rule=encode_text(e.rule), detail=encode_text(e.detail)) for e in verdict.evidence),
        feedback=encode_text(verdict.feedback),
    )


def decode_verdict(message: pb.Verdict) -> Verdict:
    """A verdict; one that makes no sense is ERROR, and says so."""
    evidence = tuple(Evidence(e.rule, e.detail) for e in message.evidence)
    status = _STATUSES.get(message.status)
    if status is None or not 0.0 <= message.score <= 1.0:
        told = f"the server sent status {message.status} with score {message.score}"
        return Verdict(Status.ERROR, 0.0, "wire", (*evidence, Evidence("wire", told)))
    return Verdict(status, message.score, message.decided_by, evidence, message.feedback)


def encode_vote(vote: Vote) -> verifier_pb2.EquivalenceClass:
    """A class of equivalent claims and its verdict as a message."""
    return verifier_pb2.EquivalenceClass(
        members=vote.found.members,
        representative=encode_text(vote.found.representative),
        weight=vote.found.weight,
        verdict=encode_verdict(vote.verdict),
    )


def decode_vote(message: verifier_pb2.EquivalenceClass) -> Vote:
    """A class of equivalent claims and its verdict."""
    found = EquivalenceClass(tuple(message.members), message.representative, message.weight)
    return Vote(found, decode_verdict(message.verdict))


def encode_info(info: VerifierInfo) -> verifier_pb2.VerifierInfo:
    """A verifier's description as a message."""
    return verifier_pb2.VerifierInfo(
        name=info.name,
        version=info.version,
        kinds=info.kinds,
        limits=dict(info.limits),
        healthy=info.healthy,
        reason=encode_text(info.reason),
    )


def decode_info(message: verifier_pb2.VerifierInfo) -> VerifierInfo:
    """A verifier's description."""
    return VerifierInfo(
        message.name, message.version, tuple(message.kinds), dict(message.limits), message.healthy, message.reason
    )


def encode_text(text: str) -> str:
    """Protobuf strings are UTF-8: lone surrogates, which JSON can smuggle in, become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
