"""`espalier engine serve`: an SGLang server with native parallel reasoning."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, errors

if TYPE_CHECKING:
    from espalier.runtime.sglang.launch import Launch

app = typer.Typer(
    name="engine",
    help="Serve a model on GPUs with SGLang.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def engine() -> None:
    """Serve a model on GPUs with SGLang."""


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Exit status: 0 stopped by SIGTERM, SIGINT or SIGHUP, 2 usage, 3 SGLang could not be started or has ended.",
)
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Option(metavar="PATH", help="Model directory, or a name on the Hugging Face hub.")],
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free one.", min=0, max=65535)] = 30000,
    key_file: Annotated[
        Path | None, typer.Option(help="File with the key that callers have to show.", dir_okay=False)
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve anyone who can reach it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON when it is healthy.")] = False,
    debug: Debug = False,
) -> None:
    """Start SGLang with native parallel reasoning, wait until it generates, and serve until SIGTERM.

    Every other option goes to SGLang; put them behind -- if a name is taken here. SGLang's log goes to standard error.

    espalier engine serve --model models/npr-4b

    espalier engine serve --model models/npr-4b --port 30001 -- --tp 2 --mem-fraction-static 0.85
    """
    with errors(debug):
        from espalier.runtime.setting import read_key
        from espalier.runtime.sglang.launch import Launch

        key = read_key(key_file) if key_file else None
        launch = Launch(model, host, port, key, insecure, tuple(context.args))
        asyncio.run(_serve(launch, key_file, as_json))


async def _serve(launch: Launch, key_file: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from espalier.runtime.sglang.launch import LaunchError, served

    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    own = asyncio.current_task()
    if own is not None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the last one: its terminal was closed
            asyncio.get_running_loop().add_signal_handler(number, own.cancel)  # a second one interrupts the draining

    def log(line: str) -> None:
        screen.print(line, style="dim", markup=False)

    with contextlib.suppress(asyncio.CancelledError):
        async with contextlib.AsyncExitStack() as stack:
            with screen.status(f"Starting SGLang with {launch.model}"):
                server = await stack.enter_async_context(served(launch, log))
            setting = server.engine + (f"?key-file={key_file}" if key_file else "")
            told = {"engine": setting, "model": server.profile.model, "pid": server.process.pid}
            print(json.dumps(told) if as_json else f"--engine {setting}", flush=True)
            raise LaunchError(f"SGLang has ended with status {await asyncio.to_thread(server.process.wait)}")
