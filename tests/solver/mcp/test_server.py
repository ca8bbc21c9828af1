"""The tools for agents, called by the protocol's own client."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
from mcp import Client, StdioServerParameters

from espalier.solver.core.loop import Solver
from espalier.solver.mcp.server import Tools, mcp_server
from espalier.verifiers.code.run import ProgramRunner
from espalier.verifiers.open import open_verifiers
from tests.runtime.openai.fake import FakeOpenAI, serving

CASES = json.dumps([{"call": {"function": "double", "arguments": [21], "expected": 42}}])


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    """A client of the tools over an engine whose every response boxes 42."""
    from espalier.runtime.openai.engine import OpenAIEngine

    fake = FakeOpenAI(deltas=({"content": r"\boxed{42}"},))

    @asynccontextmanager
    async def tools() -> AsyncIterator[Tools]:
        async with (
            serving(fake) as url,
            OpenAIEngine(url) as engine,
            open_verifiers() as verifiers,
            ProgramRunner() as programs,
        ):
            yield Tools(verifiers, Solver(engine, verifiers), programs)

    async with Client(mcp_server(tools, solving=True, running=True)) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def test_every_tool_is_there_and_explains_its_arguments() -> None:
    async with connected() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == {"verify_math", "verify_program", "run_program", "solve"}
        for tool in tools.values():
            assert tool.description
            assert "context" not in tool.input_schema["properties"]


@pytest.mark.parametrize(
    ("answer", "check", "status"),
    [
        ("0.5", "reference:1/2", "PASS"),
        (r"so it is \boxed{3}", "reference:4", "FAIL"),
        ("5", "relation:3*x+5=20", "PASS"),
        ("no idea at all, sorry to say, I have really looked at it for a long time", "reference:4", "FAIL"),
    ],
)
async def test_an_answer_is_judged(answer: str, check: str, status: str) -> None:
    async with connected() as client:
        assert (await call(client, "verify_math", answer=answer, check=check))["status"].endswith(status)


@pytest.mark.parametrize(("body", "status"), [("2 * x", "PASS"), ("x + x + 1", "FAIL")])
@pytest.mark.usefixtures("sandbox")
async def test_a_program_is_judged_in_a_sandbox(body: str, status: str) -> None:
    async with connected() as client:
        program = f"def double(x):\n    return {body}\n"
        for cases in (CASES, json.loads(CASES), {"cases": json.loads(CASES)}):
            assert (await call(client, "verify_program", program=program, cases=cases))["status"].endswith(status)


@pytest.mark.usefixtures("sandbox")
async def test_a_program_is_run_and_its_output_is_told_but_not_obeyed() -> None:
    async with connected() as client:
        said = await call(client, "run_program", program="```python\nprint(int(input()) * 2)\n```", stdin="21")
        assert (said["stdout"], said["ended"], said["exit_code"]) == ("42\n", "exit code 0", 0)
        said = await call(client, "run_program", program="print('\\x1b]0;x\\x07' + 'y' * 20_000); raise SystemExit(3)")
        assert said["stdout"].startswith("\N{REPLACEMENT CHARACTER}]0;x\N{REPLACEMENT CHARACTER}yyy")
        assert said["stdout"].endswith("\n… 4007 more characters")
        assert said["ended"] == "exit code 3"
        said = await call(client, "run_program", program="while True: pass", seconds=0.2)
        assert said["ended"] in ("out of time", "out of time on the clock")  # the latter on a busy machine
        assert said["exit_code"] is None
        said = await call(client, "run_program", program="print(1", language="python")
        assert "SyntaxError" in said["stderr"]
        said = await call(client, "run_program", program="import socket; socket.create_connection(('1.1.1.1', 80), 2)")
        assert said["exit_code"] == 1


async def test_a_problem_is_solved_with_progress() -> None:
    async with connected() as client:
        seen: list[str] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(message or "")

        asked = {"problem": "What is 6 · 7?", "check": "reference:42", "k": 2}
        result = await client.call_tool("solve", asked, progress_callback=progress)
        assert isinstance(result.structured_content, dict)
        assert (result.structured_content["answer"], result.structured_content["outcome"]) == ("42", "OUTCOME_VERIFIED")
        assert seen == ["candidate 0: pass"] or "candidate 0: pass" in seen


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("verify_math", {"answer": "1", "check": "nonsense"}, "is no check"),
        ("verify_math", {"answer": "1"}, "check: is missing; give a string or an object"),
        ("verify_math", {"answer": 1, "check": 2}, "answer: is not a string; check: is not a string or an object"),
        (
            "verify_math",
            {"answer": "1", "check": "reference:1", "strict": True},
            "strict: is no argument of verify_math",
        ),
        ("verify_program", {"program": "x", "cases": 7}, "cases: is not a string or a list or an object"),
        ("run_program", {"program": "x", "language": "cobol"}, "language: 'cobol' is not one of python"),
        ("run_program", {"program": "x", "seconds": 1e6}, "seconds: is 1e+06; give more than 0 and at most 60"),
        ("run_program", {"program": " "}, "program: has no program"),
        ("solve", {"problem": "x", "k": "many"}, "k: is not a whole number"),
        ("nonsense", {}, "there is no tool 'nonsense'; there are: verify_math"),
        ("verify_program", {"program": "x", "cases": "{"}, "cases"),
        ("solve", {"problem": "x", "k": 10_000}, "k: is 10000"),
        ("solve", {"problem": "x", "check": "nonsense"}, "is no check"),
    ],
)
async def test_a_wrong_request_is_an_error_that_names_the_field(
    tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with connected() as client:
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert said in result.content[0].text  # type: ignore[union-attr]
        assert "pydantic" not in str(result.content)


@pytest.mark.timeout(120)
async def test_an_agent_starts_the_command_and_speaks_over_its_standard_streams() -> None:
    command = ["-m", "espalier.solver.cli.main", "mcp", "--without-solve", "--only", "math"]
    async with Client(StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"verify_math", "verify_program"}
        assert (await call(client, "verify_math", answer="2/4", check="reference:1/2"))["status"].endswith("PASS")


@asynccontextmanager
async def served_over_http(port: int) -> AsyncIterator[str]:
    command = [
        "-m",
        "espalier.solver.cli.main",
        "mcp",
        "--without-solve",
        "--only",
        "math",
        "--http",
        f"127.0.0.1:{port}",
    ]
    serving = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    try:
        assert serving.stderr is not None
        async for line in serving.stderr:
            if b"running on" in line:
                break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        serving.terminate()
        await serving.wait()


@pytest.mark.timeout(120)
async def test_an_agent_asks_over_http_and_other_sites_may_not(unused_tcp_port: int) -> None:
    async with served_over_http(unused_tcp_port) as url:
        async with Client(url) as client:
            assert (await call(client, "verify_math", answer="2/4", check="reference:1/2"))["status"].endswith("PASS")
        async with httpx.AsyncClient(timeout=20) as stranger:
            asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            accept = {"Accept": "application/json, text/event-stream"}
            for header, status in ((("Origin", "https://example.org"), 403), (("Host", "example.org"), 421)):
                reply = await stranger.post(url, json=asked, headers={**accept, header[0]: header[1]})
                assert reply.status_code == status
