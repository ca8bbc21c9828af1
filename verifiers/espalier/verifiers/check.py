"""How an answer is judged: the checks a client can ask for, and the claim they are applied to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class MathOptions:
    """Policy choices where mathematicians differ. Comparison is symmetric unless an option says otherwise.

    Attributes:
        percent_as_fraction: "5%" equals "0.05".
        missing_unit_ok: A claim without a unit may match a reference with one (asymmetric).
        interval_as_inequality: "(1, 3)" equals "1 < x < 3".
        ordered_lists: The order of a bracketless list "1, 2" matters.
        round_to: Decimal places to which a decimal claim may round the reference (asymmetric); None: exact only.
    """

    percent_as_fraction: bool = True
    missing_unit_ok: bool = True
    interval_as_inequality: bool = True
    ordered_lists: bool = False
    round_to: int | None = None


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """The answer must be equivalent to a known one."""

    answer: str
    options: MathOptions = MathOptions()


@dataclass(frozen=True, slots=True)
class NumberUse:
    """The answer is an expression of value `target` that uses the given numbers (countdown, puzzle 24)."""

    numbers: tuple[str, ...]
    target: str
    use_all: bool = True
    operators: tuple[str, ...] = ("+", "-", "*", "/")


@dataclass(frozen=True, slots=True)
class Relation:
    """Equations or inequalities in the unknowns; every value of the claim is substituted into them.

    Attributes:
        text: "3x + 5 = 20"; a system is separated by commas.
        all_solutions: The claim must hold every real solution, where these can be found (one polynomial equation).
        round_to: Decimal places to which a claimed solution may be rounded; None: exact only.
    """

    text: str
    all_solutions: bool = False
    round_to: int | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """What kind of number the answer must be: "integer", "positive", "real", …"""

    name: str


Constraint = NumberUse | Relation | Domain


@dataclass(frozen=True, slots=True)
class ConstraintCheck:
    """The answer must satisfy every constraint; no reference is needed."""

    constraints: tuple[Constraint, ...]


@dataclass(frozen=True, slots=True)
class StepCheck:
    """Every equality chain in the reasoning is tested. It can lower a score, never PASS by itself."""


class Comparison(StrEnum):
    """How a program's output is compared with the expected one."""

    EXACT = "exact"
    TOKENS = "tokens"
    FLOAT = "float"
    UNORDERED_LINES = "unordered_lines"


@dataclass(frozen=True, slots=True)
class StdioCase:
    """Standard input in, standard output out. Nothing of a hidden case is told in feedback or evidence."""

    stdin: str
    expected: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class CallCase:
    """`function(*arguments)` must return `expected`; arguments (a JSON list) and result are JSON text."""

    function: str
    arguments_json: str
    expected_json: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class AssertCase:
    """Python source that exercises the program: asserts, pytest functions, unittest classes or `check(candidate)`.

    Attributes:
        source: The tests. They run in a process of their own.
        entry_point: The function that `check` is called with; empty: the last one that the program defines.
        hidden: Nothing of the case is told in feedback or evidence.
    """

    source: str
    entry_point: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class CheckerCase:
    """A trusted checker reads {"stdin", "stdout", "expected"} as JSON on stdin and exits 0 to accept."""

    stdin: str
    expected: str
    source: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class RunCase:
    """Standard input in; the program must come to a good end, whatever it prints. The evidence tells what it prints."""

    stdin: str = ""
    hidden: bool = False


Case = StdioCase | CallCase | AssertCase | CheckerCase | RunCase


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """Limits of one program check.

    Attributes:
        case_seconds: Processor time of one case. Waiting is limited too, to 5 times as much.
        total_seconds: Processor time of all cases, likewise.
        memory_mib: Memory of the program, its files included.
        output_bytes: Standard output of one case.
    """

    case_seconds: float = 5.0
    total_seconds: float = 30.0
    memory_mib: int = 256
    output_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class ProgramCheck:
    """The answer is a program that must pass every case, in the sandbox.

    Attributes:
        cases: What it must pass.
        language: A row of the language table.
        comparison: How outputs and values are compared.
        tolerance: Absolute and relative tolerance of `Comparison.FLOAT`.
        stop_at_first_failure: Whether the cases after a failed one are left out.
        limits: Time, memory and output.
        files: Name and text of files beside the program: modules that it may import, headers, data.
        together: Whether all cases, which must be assert cases, run in one process: many small tests cost little more
            than one, and a test sees what an earlier one has changed. A test that judges nothing is failed.
    """

    cases: tuple[Case, ...]
    language: str = "python"
    comparison: Comparison = Comparison.TOKENS
    tolerance: float = 1e-6
    stop_at_first_failure: bool = True
    limits: ProgramLimits = field(default_factory=ProgramLimits)
    files: tuple[tuple[str, str], ...] = ()
    together: bool = False


_PATCH_RUNS = 4
"""Runs of a repository's tests for one verdict, at most."""


@dataclass(frozen=True, slots=True)
class PatchLimits:
    """Limits of one run of a repository's tests.

    Attributes:
        seconds: Processor time. Waiting is limited too, to 5 times as much.
        memory_mib: Memory of the tests; the repository's files are not counted.
    """

    seconds: float = 120.0
    memory_mib: int = 512


@dataclass(frozen=True, slots=True)
class PatchCheck:
    """The answer is a patch of a repository, whose tests are run in the sandbox.

    Tests are named by node ids of pytest, or by the directories, files, classes or functions that hold them.

    Attributes:
        repository: SHA-256 of the repository's archive in the verifier's store, in hexadecimal digits.
        must_pass: Tests that must pass with the patch.
        must_not_break: Tests that must pass with the patch if they do without it; empty: all that the command finds.
        command: "pytest" and its arguments.
        protected_paths: Patterns of paths that a patch must not touch, beside those that none may touch.
        files: Path and text of files that are laid over the patched repository: tests that it does not hold yet.
        hidden_files: Likewise, for a run of their own; nothing of the tests in them is told in feedback or evidence.
        image: Image of the box.
        environment: Name of a directory of packages that the verifier keeps for tests; empty: none.
        limits: Time and memory.
    """

    repository: str
    must_pass: tuple[str, ...]
    must_not_break: tuple[str, ...] = ()
    command: tuple[str, ...] = ("pytest",)
    protected_paths: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    hidden_files: tuple[tuple[str, str], ...] = ()
    image: str = "python"
    environment: str = ""
    limits: PatchLimits = PatchLimits()

    @property
    def seconds(self) -> float:
        """What a verdict may take: tests are run with and without the patch, hidden ones apart."""
        return _PATCH_RUNS * self.limits.seconds


@dataclass(frozen=True, slots=True)
class CustomCheck:
    """Whatever the verifier of that name judges: the way in for kinds of check that this contract does not know.

    Attributes:
        verifier: Name of the verifier.
        parameters_json: A JSON object that the verifier understands.
    """

    verifier: str
    parameters_json: str = "{}"


Check = ReferenceCheck | ConstraintCheck | StepCheck | ProgramCheck | PatchCheck | CustomCheck


@dataclass(frozen=True, slots=True)
class Claim:
    """What is judged.

    Attributes:
        text: A whole response, or the answer itself when `bare`.
        bare: `text` is the answer; nothing has to be extracted.
        problem: The problem's text, from which constraints may be recognised.
    """

    text: str
    bare: bool = False
    problem: str = ""
