"""The tools for agents, called by the protocol's own client."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from espalier.solver.core.loop import Solver
from espalier.solver.mcp.server import Tools, mcp_server
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
        async with serving(fake) as url, OpenAIEngine(url) as engine, open_verifiers() as verifiers:
            yield Tools(verifiers, Solver(engine, verifiers))

    async with Client(mcp_server(tools, solving=True)) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def test_every_tool_is_there_and_explains_its_arguments() -> None:
    async with connected() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == {"verify_math", "verify_program", "solve"}
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
        assert (await call(client, "verify_program", program=program, cases=CASES))["status"].endswith(status)


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
        assert said in str(result.content)


@pytest.mark.timeout(120)
async def test_an_agent_starts_the_command_and_speaks_over_its_standard_streams() -> None:
    command = ["-m", "espalier.solver.cli.main", "mcp", "--without-solve", "--only", "math"]
    async with Client(StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"verify_math", "verify_program"}
        assert (await call(client, "verify_math", answer="2/4", check="reference:1/2"))["status"].endswith("PASS")
