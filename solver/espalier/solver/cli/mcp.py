"""`espalier mcp`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, UsageError, errors
from espalier.runtime.options import Constrained
from espalier.solver.cli.options import (
    EngineOption,
    Instruction,
    MaxTokens,
    OnlyVerifiers,
    Verifiers,
    VerifiersAuthority,
    VerifiersTokenFile,
)

if TYPE_CHECKING:
    from espalier.solver.mcp.server import Tools

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 the client has left, 2 usage, 3 the engine failed.")
def mcp(
    engine: EngineOption = "local",
    model_instruction: Instruction = None,
    without_solve: Annotated[
        bool, typer.Option("--without-solve", help="Offer the verifiers alone; no engine is loaded.")
    ] = False,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Speak streamable HTTP there (/mcp), not standard input and output."),
    ] = None,
    max_tokens: MaxTokens = 4096,
    constrained: Constrained = None,
    seconds: Annotated[float, typer.Option(help="Longest time of a solve.", min=0.001)] = 300.0,
    verifiers: Verifiers = None,
    only: OnlyVerifiers = None,
    verifiers_token_file: VerifiersTokenFile = None,
    verifiers_tls_ca: VerifiersAuthority = None,
    debug: Debug = False,
) -> None:
    """Offer verifiers and solver to agents as tools of the Model Context Protocol.

    An agent starts it itself and speaks over standard input and output:

    {"mcpServers": {"espalier": {"command": "espalier", "args": ["mcp"]}}}

    espalier mcp --without-solve        # verify_math, verify_program and run_program alone

    espalier mcp --http 127.0.0.1:8001
    """
    with errors(debug):
        from espalier.common.security import is_local
        from espalier.solver.core.prompts import instruction_files
        from espalier.solver.core.settings import ServerLimits
        from espalier.solver.mcp.server import mcp_server

        limits = ServerLimits(candidate_tokens=max_tokens, seconds=seconds)
        instructions = instruction_files(model_instruction)

        @asynccontextmanager
        async def tools() -> AsyncIterator[Tools]:
            from espalier.runtime.defaults import DecodingOverrides
            from espalier.runtime.open import open_engine
            from espalier.solver.core.generation import generation_of
            from espalier.solver.core.loop import Solver
            from espalier.solver.core.prompts import templates_of
            from espalier.solver.mcp.server import Tools
            from espalier.verifiers.code.run import ProgramRunner
            from espalier.verifiers.open import open_verifiers

            async with (
                ProgramRunner() as programs,
                open_verifiers(verifiers, only, verifiers_token_file, verifiers_tls_ca) as judges,
                AsyncExitStack() as stack,
            ):
                solver = None
                if not without_solve:
                    opened = await stack.enter_async_context(open_engine(engine))
                    generation = generation_of(opened, DecodingOverrides(constrained))
                    solver = Solver(opened, judges, templates_of(opened, instructions), generation)
                yield Tools(judges, solver, programs, limits)

        here = not verifiers and (only is None or "code" in only)
        server = mcp_server(tools, solving=not without_solve, running=here)
        if http is None:
            server.run("stdio")
            return
        host, _, port = http.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise UsageError(f"--http: cannot listen on {http!r}; give HOST:PORT")
        if not is_local(http):
            raise UsageError(f"--http: {http} is not loopback; nothing protects these tools, so put a proxy in front")
        server.run("streamable-http", host=host.strip("[]"), port=int(port))
