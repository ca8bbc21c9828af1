"""`espalier verify math|code|patch` and `espalier verifiers serve|describe|pack`.

Imports that cost time happen inside the commands: the main CLI loads this module for `--help` too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from espalier.common.cli import NEGATIVE, OK, TROUBLE, Debug, Json, UsageError, errors, require_directory_of, say
from espalier.common.errors import FieldError
from espalier.verifiers.check import (
    Check,
    Claim,
    Constraint,
    ConstraintCheck,
    CustomCheck,
    Domain,
    MathOptions,
    NumberUse,
    ReferenceCheck,
    Relation,
    StepCheck,
)
from espalier.verifiers.verdict import Status, Verdict

if TYPE_CHECKING:
    from espalier.verifiers.local import LocalVerifiers
    from espalier.verifiers.remote import RemoteVerifiers
    from espalier.verifiers.verifier import VerifierInfo

WINDOW = 64
"""Pairs that are judged at once."""

MISTYPED = re.compile(r"(?P<name>--[a-z]{2}[a-z-]*)(?:=.*)?", re.DOTALL)
"""Negative answers may look like options, so unknown options arrive as answers; this is none."""

LANGUAGES = {".py": "python", ".cpp": "cpp", ".cc": "cpp", ".js": "javascript", ".mjs": "javascript"}

_EPILOG = "Exit status: 0 PASS, 1 not PASS, 2 usage, 3 the verifier failed (a verdict ERROR, or no server)."

verify_app = typer.Typer(
    name="verify",
    help="Judge an answer, a program or a patch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
verifiers_app = typer.Typer(
    name="verifiers",
    help="Serve the verifiers, ask what they can do, or pack a repository for them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


ANSWERS = {"ignore_unknown_options": True, "allow_extra_args": True}


class AnswerCommand(TyperCommand):
    """A command whose answer may begin with a minus: an option that it does not know is an answer, unless it is
    `MISTYPED`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        for arg in takewhile(lambda arg: arg != "--", args):
            mistyped = MISTYPED.fullmatch(arg)
            if mistyped and mistyped["name"] not in known:
                ctx.fail(f"No such option: {mistyped['name']}.{self._hint(mistyped['name'], known)}")
        super().parse_args(ctx, args)
        if ctx.args:
            ctx.fail(f"One answer at a time: there is {ctx.args[0]!r}, too. Put an answer with spaces into quotes.")
        return []

    def _hint(self, name: str, known: set[str]) -> str:
        close = get_close_matches(name, sorted(known))
        example = next((line for line in (self.help or "").splitlines() if line.startswith("espalier ")), "")
        return f" Did you mean {' or '.join(close)}?" if close else f" For example: {example}" if example else ""


Address = Annotated[
    list[str] | None,
    typer.Option("--address", metavar="HOST:PORT", help="Ask this server instead of this process; repeat for several."),
]
TokenFile = Annotated[Path | None, typer.Option(help="File with the bearer token.", dir_okay=False)]
ServerAuthority = Annotated[
    Path | None, typer.Option("--tls-ca", help="PEM root of the server's certificate; turns TLS on.", dir_okay=False)
]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one verdict; late is ERROR.", min=0.001)]


@verify_app.command("math", epilog=_EPILOG, cls=AnswerCommand, context_settings=ANSWERS)
def verify_math(
    text: Annotated[
        str | None, typer.Argument(help="The answer, or with --response a whole response; - reads standard input.")
    ] = None,
    gold: Annotated[str | None, typer.Option(help="The right answer: plain text or LaTeX.")] = None,
    pairs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help='JSON lines {"gold": …, "answer": …}, or -; one verdict a line, in order.'),
    ] = None,
    response: Annotated[
        bool, typer.Option("--response", help="TEXT is a whole response: its last box or final answer counts.")
    ] = False,
    relation: Annotated[
        list[str] | None, typer.Option(help="Without a gold: the answer must satisfy this, e.g. '3*x + 5 = 20'.")
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="… must be of this kind: integer, positive, real, …")] = None,
    numbers: Annotated[
        str | None, typer.Option(help="… must use each of these numbers once, e.g. '19,36,55,7'; needs --target.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="… and have this value.")] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Test every equality in the reasoning instead.")] = False,
    problem: Annotated[str, typer.Option(help="The problem's text, for constraints that it states.")] = "",
    percent_as_fraction: Annotated[bool, typer.Option(help="5% equals 0.05.")] = True,
    missing_unit_ok: Annotated[bool, typer.Option(help="An answer may leave out the unit of the gold.")] = True,
    interval_as_inequality: Annotated[bool, typer.Option(help="(1, 3) equals 1 < x < 3.")] = True,
    ordered_lists: Annotated[bool, typer.Option(help="1, 2 differs from 2, 1.")] = False,
    round_to: Annotated[
        int | None, typer.Option(help="Decimal places to which an answer may round the gold.", min=0, max=1000)
    ] = None,
    address: Address = None,
    token_file: TokenFile = None,
    tls_ca: ServerAuthority = None,
    timeout: Timeout = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge a mathematical answer.

    espalier verify math --gold '1/2' '0.5'

    espalier verify math --gold 7 --response - < response.txt

    espalier verify math --numbers 19,36,55,7 --target 65 '55 + 36 - 19 - 7'

    espalier verify math --pairs pairs.jsonl > verdicts.jsonl
    """
    with errors(debug):
        options = MathOptions(percent_as_fraction, missing_unit_ok, interval_as_inequality, ordered_lists, round_to)
        judges = _judges(["math"], address, token_file, tls_ca)
        if pairs is not None:
            if any((text, gold, relation, domain, numbers, target, steps)):
                raise UsageError("--pairs brings its own golds and answers: leave out TEXT and the other checks")
            asyncio.run(_verify_pairs(judges, pairs, options, response, timeout))
            return
        check = _math_check(gold, options, relation or [], domain or [], numbers, target, steps)
        if text is None:
            raise UsageError(
                "the answer is missing: give it behind the options, or - for standard input, or --pairs FILE. "
                "For example: espalier verify math --gold 1/2 0.5"
            )
        claim = Claim(_read(text).decode(errors="replace") if text == "-" else text, not response, problem)
        asyncio.run(_verify_one(judges, claim, check, timeout, as_json))


@verify_app.command("code", epilog=_EPILOG)
def verify_code(
    program: Annotated[str, typer.Argument(help="The program's file; - reads standard input.")],
    cases: Annotated[
        str, typer.Option(metavar="FILE", help="JSON: a list of cases, or an object with cases, comparison, limits, …")
    ],
    language: Annotated[
        str | None, typer.Option(help="Of the program; by default what its name ends in, else python.")
    ] = None,
    address: Address = None,
    token_file: TokenFile = None,
    tls_ca: ServerAuthority = None,
    timeout: Timeout = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a program against cases, in the sandbox.

    espalier verify code solution.py --cases cases.json

    where cases.json is, for example, [{"call": {"function": "square", "arguments": [2], "expected": 4}}]
    """
    with errors(debug):
        from espalier.verifiers.check_files import read_program_check

        if program == cases == "-":
            raise UsageError("standard input is either the program or the cases")
        spoken = language or LANGUAGES.get(Path(program).suffix)
        check = read_program_check(_read(cases), _called(cases), spoken)
        source = _read(program).decode(errors="replace")
        if not source.strip():
            raise UsageError(f"{_called(program)} is empty: there is no program to run")
        claim = Claim(source, bare=True)
        judges = _judges(["code"], address, token_file, tls_ca)
        asyncio.run(_verify_one(judges, claim, check, timeout, as_json))


@verify_app.command("patch", epilog=_EPILOG)
def verify_patch(
    patch: Annotated[
        str, typer.Argument(help="File with a unified diff, or with fenced files and their paths; - reads stdin.")
    ],
    check: Annotated[
        Path, typer.Option(metavar="FILE", help="JSON: repository, must_pass, … (docs/verifiers.md).", dir_okay=False)
    ],
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was seen as Markdown.", dir_okay=False)
    ] = None,
    address: Address = None,
    token_file: TokenFile = None,
    tls_ca: ServerAuthority = None,
    timeout: Timeout = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Apply a patch to a repository and run its tests, in the sandbox.

    espalier verify patch fix.diff --check check.json --report report.md

    where check.json is, for example, {"repository": ".", "must_pass": ["tests/test_cart.py::test_total"]}
    """
    with errors(debug):
        from espalier.verifiers.check_files import read_patch_check

        if report:
            require_directory_of(report, "--report")
        claim = Claim(_read(patch).decode(errors="replace"), bare=True)
        judges = _judges(["patch"], address, token_file, tls_ca)
        asyncio.run(_verify_one(judges, claim, read_patch_check(check), timeout, as_json, report))


@verify_app.command("custom", epilog=_EPILOG, cls=AnswerCommand, context_settings=ANSWERS)
def verify_custom(
    verifier: Annotated[str, typer.Argument(help="Name of a verifier that takes custom checks.")],
    text: Annotated[str, typer.Argument(help="The answer, or with --response a whole response; - reads stdin.")],
    parameters: Annotated[
        str, typer.Option(metavar="JSON", help="A JSON object that the verifier understands.")
    ] = "{}",
    response: Annotated[bool, typer.Option("--response", help="TEXT is a whole response.")] = False,
    problem: Annotated[str, typer.Option(help="The problem's text.")] = "",
    address: Address = None,
    token_file: TokenFile = None,
    tls_ca: ServerAuthority = None,
    timeout: Timeout = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge an answer by a verifier that another package brings (docs/verifiers.md)."""
    with errors(debug):
        claim = Claim(_read(text).decode(errors="replace") if text == "-" else text, not response, problem)
        judges = _judges([verifier], address, token_file, tls_ca)
        asyncio.run(_verify_one(judges, claim, CustomCheck(verifier, parameters), timeout, as_json))


@verifiers_app.command("serve")
def serve(
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; also unix:PATH.")
    ] = "127.0.0.1:50061",
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Serve this verifier; repeat for several. Default: all.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Show Prometheus metrics there.")] = None,
    token_file: TokenFile = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.", dir_okay=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key.", dir_okay=False)] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM root that client certificates must come from (mTLS).", dir_okay=False)
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen on any address without token and TLS.")] = False,
    max_in_flight: Annotated[
        int, typer.Option(help="Calls answered at once; more are told to come back.", min=1)
    ] = 256,
    default_timeout: Annotated[float, typer.Option(help="Seconds for a call without a deadline.", min=0.001)] = 60.0,
    grace: Annotated[float, typer.Option(help="Seconds for calls in flight after SIGTERM.", min=0.0)] = 30.0,
    health_interval: Annotated[float, typer.Option(help="Seconds between self-checks.", min=1.0)] = 30.0,
    max_message_mib: Annotated[int, typer.Option(help="Largest request and reply, MiB.", min=1, max=1024)] = 16,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    debug: Debug = False,
) -> None:
    """Serve the verifiers over gRPC (espalier.v1.Verifier) until SIGTERM.

    Health says SERVING once every verifier has accepted its gold examples and rejected its bad ones.
    """
    with errors(debug):
        from structlog import get_logger

        from espalier.common.grpc_server import serve
        from espalier.common.logging import configure_logging
        from espalier.common.security import ServerSecurity, read_token
        from espalier.verifiers.local import LocalVerifiers, load
        from espalier.verifiers.service import ServerSettings, VerifierServer

        configure_logging("debug" if debug else log_level)
        verifiers = LocalVerifiers(load(only))
        security = ServerSecurity(
            token=read_token(token_file) if token_file else None,
            certificate=tls_cert.read_bytes() if tls_cert else None,
            key=tls_key.read_bytes() if tls_key else None,
            client_authority=tls_client_ca.read_bytes() if tls_client_ca else None,
            insecure=insecure,
        )
        settings = ServerSettings(
            address=address,
            metrics=metrics,
            max_in_flight=max_in_flight,
            default_seconds=default_timeout,
            grace_seconds=grace,
            health_seconds=health_interval,
            max_message_mib=max_message_mib,
        )
        asyncio.run(serve(VerifierServer(verifiers, settings, security)))
        get_logger().info("stopped")


@verifiers_app.command("pack")
def pack(
    check: Annotated[Path, typer.Argument(metavar="FILE", help="A check of patches (docs/verifiers.md).")],
    debug: Debug = False,
) -> None:
    """Pack the repository of a check of patches into the store, and print the check as requests and files of problems
    have it: {"patch": {…}}.

    A server needs the archive in its own store: copy the file that the field `repository` names.
    """
    with errors(debug):
        from espalier.verifiers.check_files import read_patch_check
        from espalier.verifiers.check_text import check_to_json

        typer.echo(json.dumps(check_to_json(read_patch_check(check)), ensure_ascii=False))


@verifiers_app.command("describe")
def describe(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of this process, only this verifier; repeat for several.")
    ] = None,
    address: Address = None,
    token_file: TokenFile = None,
    tls_ca: ServerAuthority = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the verifiers: kinds of check, limits, and whether they accept their golds and reject their bad examples.

    Exit status: 0 all are healthy, 2 usage, 3 one is not, or no server answers.
    """
    with errors(debug):
        if only and address:
            raise UsageError("--only chooses verifiers of this process: leave it out with --address")
        infos = asyncio.run(_describe(_judges(only, address, token_file, tls_ca)))
        for info in infos:
            typer.echo(_info_json(info) if as_json else _info_text(info))
        if not all(info.healthy for info in infos):
            raise typer.Exit(TROUBLE)


def _judges(
    names: list[str] | None, addresses: list[str] | None, token_file: Path | None, tls_ca: Path | None
) -> LocalVerifiers | RemoteVerifiers:
    """The verifiers of this process (those with names, or all), or those behind addresses."""
    from espalier.verifiers.open import open_verifiers

    if (token_file or tls_ca) and not addresses:
        raise UsageError("--token-file and --tls-ca say how to reach a server: give its --address too")
    return open_verifiers(addresses, None if addresses else names, token_file, tls_ca)


def _math_check(
    gold: str | None,
    options: MathOptions,
    relations: Sequence[str],
    domains: Sequence[str],
    numbers: str | None,
    target: str | None,
    steps: bool,
) -> Check:
    constraints: list[Constraint] = [*map(Relation, relations), *map(Domain, domains)]
    if (numbers is None) != (target is None):
        raise UsageError("--numbers and --target belong together")
    if numbers is not None and target is not None:
        if not all(number.strip() for number in numbers.split(",")):
            raise UsageError("--numbers: a number is missing between two commas, or at an end")
        constraints.append(NumberUse(tuple(number.strip() for number in numbers.split(",")), target))
    if (gold is not None) + bool(constraints) + steps != 1:
        raise UsageError(
            "say how to judge the answer: --gold, or constraints (--relation, --domain, --numbers), or --steps"
        )
    if gold is not None:
        if not gold.strip():
            raise UsageError("--gold is empty")
        return ReferenceCheck(gold, options)
    return ConstraintCheck(tuple(constraints)) if constraints else StepCheck()


async def _verify_one(
    judges: LocalVerifiers | RemoteVerifiers,
    claim: Claim,
    check: Check,
    timeout: float | None,
    as_json: bool,
    report: Path | None = None,
) -> None:
    from espalier.verifiers import proto

    check = proto.decode_check(proto.encode_check(check))  # what a server would refuse is refused here too
    async with judges:
        if isinstance(check, ConstraintCheck):
            await _validate(judges, check, timeout)
        verdict = await judges.verify(claim, check, timeout=timeout)
    if report is not None:
        _write_report(report, verdict)
    say(json.dumps(_verdict_json(verdict)) if as_json else _verdict_text(verdict))
    raise typer.Exit(_exit_status([verdict.status]))


def _write_report(file: Path, verdict: Verdict) -> None:
    from espalier.verifiers.patch.report import report_of

    file.write_text(report_of(verdict), encoding="utf-8")


async def _validate(judges: LocalVerifiers | RemoteVerifiers, check: ConstraintCheck, timeout: float | None) -> None:
    """Refuse constraints that no answer could satisfy, by the name of their option."""
    try:
        await judges.validate_check(check, timeout=timeout)
    except FieldError as error:
        place = re.search(r"constraints\[(\d+)\]", error.field)
        if place is None:
            raise
        options = {Relation: "--relation", Domain: "--domain", NumberUse: "--numbers and --target"}
        raise UsageError(f"{options[type(check.constraints[int(place[1])])]}: {error.problem}") from None


async def _verify_pairs(
    judges: LocalVerifiers | RemoteVerifiers, file: str, options: MathOptions, response: bool, timeout: float | None
) -> None:
    from espalier.verifiers.check_files import read_pairs

    pairs = read_pairs(_read(file), _called(file))
    jobs = ((Claim(pair.answer, bare=not response), ReferenceCheck(pair.gold, options)) for pair in pairs)
    statuses: set[Status] = set()
    async with judges:
        with _progress(len(pairs)) as advance:
            lines = (pair.line for pair in pairs)
            async for verdict in _in_order(judges, jobs, timeout):
                sys.stdout.write(json.dumps({"line": next(lines), **_verdict_json(verdict)}) + "\n")
                statuses.add(verdict.status)
                advance()
    raise typer.Exit(_exit_status(statuses))


async def _in_order(
    judges: LocalVerifiers | RemoteVerifiers, jobs: Iterable[tuple[Claim, Check]], timeout: float | None
) -> AsyncIterator[Verdict]:
    """Verdicts in the order of the jobs, of which a bounded number is under way."""
    running: deque[asyncio.Task[Verdict]] = deque()
    try:
        for claim, check in jobs:
            running.append(asyncio.create_task(judges.verify(claim, check, timeout=timeout)))
            if len(running) == WINDOW:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def _describe(judges: LocalVerifiers | RemoteVerifiers) -> tuple[VerifierInfo, ...]:
    from espalier.verifiers.local import LocalVerifiers

    async with judges:
        return await (judges.check() if isinstance(judges, LocalVerifiers) else judges.describe())


def _exit_status(statuses: Iterable[Status]) -> int:
    seen = set(statuses)
    if Status.ERROR in seen:
        return TROUBLE
    return OK if seen <= {Status.PASS} else NEGATIVE


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status.value,
        "score": verdict.score,
        "decided_by": verdict.decided_by,
        "evidence": [{"rule": evidence.rule, "detail": evidence.detail} for evidence in verdict.evidence],
        "feedback": verdict.feedback,
    }


def _verdict_text(verdict: Verdict) -> str:
    lines = [f"{verdict.status.name}  score {verdict.score:g}, decided by {verdict.decided_by}"]
    lines += [f"  {evidence.rule}: {evidence.detail}" for evidence in verdict.evidence]
    if verdict.feedback:
        lines.append(f"  feedback: {verdict.feedback}")
    return "\n".join(lines)


def _info_json(info: VerifierInfo) -> str:
    return json.dumps(
        {
            "name": info.name,
            "version": info.version,
            "kinds": info.kinds,
            "limits": dict(info.limits),
            "healthy": info.healthy,
            "reason": info.reason,
        }
    )


def _info_text(info: VerifierInfo) -> str:
    state = "healthy" if info.healthy else f"NOT HEALTHY: {info.reason}"
    lines = [f"{info.name} {info.version}  {state}", f"  judges: {', '.join(info.kinds)}"]
    lines += [f"  {name}: {limit}" for name, limit in sorted(info.limits.items())]
    return "\n".join(lines)


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _called(file: str) -> str:
    return "standard input" if file == "-" else file


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A function to call after each of `total` verdicts; it moves a bar if a person watches."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "verifying", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
