"""The tools: `verify_math`, `verify_program`, `run_program` and `solve`.

Answers have the JSON form of the contract (proto/espalier/v1). A wrong request is an error of the tool that names its
field; a wrong answer is a verdict.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from espalier.common.distribution import version
from espalier.common.errors import FieldError, UnavailableError, first_cause
from espalier.solver.core.events import CandidateFinished, SolveEvent
from espalier.solver.core.loop import Solver
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import encode_result
from espalier.solver.core.settings import ServerLimits, Settings
from espalier.solver.mcp.arguments import PlainServer
from espalier.verifiers.answer import answer_of
from espalier.verifiers.check import Check, Claim, ProgramCheck
from espalier.verifiers.check_files import read_program_check
from espalier.verifiers.check_text import CheckError, check_from_json, parse_check
from espalier.verifiers.code.run import ProgramRunner
from espalier.verifiers.code.sandbox import SandboxError
from espalier.verifiers.proto import encode_verdict
from espalier.verifiers.verdict import Verdict

INSTRUCTIONS = """Verify before you claim. verify_math compares an answer with a reference or tests it against
constraints, exactly; verify_program runs a program on cases in a sandbox; run_program runs one there and shows its
output; solve lets a model attempt a problem several times and returns the answer that passes the check."""

VERIFY_SECONDS = 60.0


class Judges(Protocol):
    """What the tools need of verifiers, local or remote."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What stands behind the tools.

    Attributes:
        verifiers: Judge.
        solver: Solves; None: there is no tool `solve`.
        programs: Runs programs; None: there is no tool `run_program`.
        limits: What a solve may ask for.
    """

    verifiers: Judges
    solver: Solver | None = None
    programs: ProgramRunner | None = None
    limits: ServerLimits = ServerLimits()


def mcp_server(
    tools: Callable[[], AbstractAsyncContextManager[Tools]], *, solving: bool, running: bool
) -> MCPServer[Tools]:
    """A server of the tools, not running yet.

    Args:
        tools: Opens what stands behind them, once the server runs; closed at its end.
        solving: Whether there is a tool `solve`.
        running: Whether there is a tool `run_program`.
    """

    @asynccontextmanager
    async def lifespan(_: MCPServer[Tools]) -> AsyncIterator[Tools]:
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(tools())

    server = PlainServer("espalier", instructions=INSTRUCTIONS, version=version(), lifespan=lifespan)

    @server.tool()
    async def verify_math(answer: str, check: str | dict[str, Any], context: Context[Tools, Any]) -> dict[str, Any]:
        """Judge a mathematical answer: pass, fail, unknown or error, with the evidence.

        Args:
            answer: A whole response (its last \\boxed{} or final answer counts) or the answer alone, LaTeX or text.
            check: "reference:ANSWER" to compare with; "relation:3*x+5=20" that the answer has to satisfy;
                "numbers:19,36,55,7=65" for an expression over given numbers; "domain:integer"; or the contract's JSON,
                such as {"reference": {"answer": "42"}}.
            context: Given by the server.
        """
        with _told():
            return await _verdict(context, answer, _check(check))

    @server.tool()
    async def verify_program(
        program: str,
        cases: str | list[dict[str, Any]] | dict[str, Any],
        context: Context[Tools, Any],
        language: str = "",
    ) -> dict[str, Any]:
        """Run a program on cases in a sandbox and judge it: pass, fail, unknown or error, with feedback.

        Args:
            program: The source, bare or in a Markdown fence.
            cases: A list of cases (or a string that holds it as JSON), each {"stdio": {"stdin": …, "expected": …}},
                {"call": {"function": …, "arguments": […], "expected": …}} or {"asserts": {"source": …}}; or a whole
                program check.
            context: Given by the server.
            language: Of the program; python unless given.
        """
        with _told():
            text = cases if isinstance(cases, str) else json.dumps(cases)
            check = read_program_check(text.encode(), "cases", language or None)
            return await _verdict(context, program, check, bare=_is_bare(program))

    if running:
        _add_run_program(server)
    if solving:
        _add_solve(server)
    return server


def _add_run_program(server: PlainServer) -> None:
    @server.tool()
    async def run_program(
        program: str,
        context: Context[Tools, Any],
        stdin: str = "",
        language: str = "python",
        seconds: float = 10.0,
        memory_mib: int = 256,
    ) -> dict[str, Any]:
        """Run a program in a sandbox, without network, and return what it wrote and how it ended. Nothing is judged.

        Args:
            program: The source, bare or in a Markdown fence.
            context: Given by the server.
            stdin: Its standard input.
            language: Of the program.
            seconds: Limit of its processor time.
            memory_mib: Limit of its memory.
        """
        runner = context.request_context.lifespan_context.programs
        assert runner is not None  # noqa: S101 (the tool is only there with a runner)
        with _told():
            source = answer_of(Claim(program, bare=_is_bare(program)), ProgramCheck((), language))
            if source is None:
                raise FieldError("program", "has no program; give the source alone or in one Markdown fence")
            return asdict(await runner.run(source.text, language, stdin, seconds, memory_mib))


def _add_solve(server: PlainServer) -> None:
    @server.tool()
    async def solve(
        problem: str,
        context: Context[Tools, Any],
        check: str | dict[str, Any] = "",
        k: int | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Attempt a problem with several candidates, verify them, and return the answer with what it rests on.

        Args:
            problem: A mathematics or programming problem.
            context: Given by the server.
            check: How an answer is judged, as in verify_math, or a program check as JSON. Without one, votes decide and
                nothing counts as verified.
            k: Candidates at most.
            seconds: Limit of the whole solve.
        """
        tools = context.request_context.lifespan_context
        assert tools.solver is not None  # noqa: S101 (the tool is only there with a solver)
        with _told():
            asked = Problem("", problem, _check(check) if check else None)
            plan = tools.limits.plan(Settings(k=k, seconds=seconds))
            ended: asyncio.Queue[CandidateFinished | None] = asyncio.Queue()

            def observe(event: SolveEvent) -> None:
                if isinstance(event, CandidateFinished):
                    ended.put_nowait(event)

            solver = tools.solver.within(plan.candidate_tokens)
            try:
                async with asyncio.TaskGroup() as group:
                    solving = group.create_task(
                        solver.solve(asked, plan.policy, plan.budget, seed=plan.seed, observer=observe)
                    )
                    solving.add_done_callback(lambda _: ended.put_nowait(None))
                    done = 0
                    while (event := await ended.get()) is not None:
                        done += 1
                        said = f"candidate {event.candidate.spec.index}: {event.verdict.status.value}"
                        await context.report_progress(done, plan.budget.candidates, said)
            except BaseExceptionGroup as failed:
                raise first_cause(failed) from None
        return _json(encode_result("", solving.result()))


@contextmanager
def _told() -> Iterator[None]:
    """Let the agent read what is wrong with its request, or that a part cannot be used; other errors are ours."""
    try:
        yield
    except (ValueError, UnavailableError, SandboxError) as error:
        raise ToolError(str(error)) from error


def _check(value: str | dict[str, Any]) -> Check:
    try:
        return parse_check(value) if isinstance(value, str) else check_from_json(value)
    except CheckError as error:
        raise FieldError("check", str(error)) from None


async def _verdict(context: Context[Tools, Any], text: str, check: Check, *, bare: bool = False) -> dict[str, Any]:
    verifiers = context.request_context.lifespan_context.verifiers
    return _json(encode_verdict(await verifiers.verify(Claim(text, bare=bare), check, timeout=VERIFY_SECONDS)))


def _is_bare(program: str) -> bool:
    return "```" not in program and "~~~" not in program


def _json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)
