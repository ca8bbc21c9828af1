"""What every command shares: exit statuses and one boundary that turns errors into a line and a status."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from espalier.common.distribution import install
from espalier.common.errors import UnavailableError, first_cause
from espalier.common.terminal import printable

OK = 0
NEGATIVE = 1
"""The command did its work and the outcome is negative: unsolved, not PASS, below the margin."""
USAGE = 2
TROUBLE = 3
INTERRUPTED = 130

EXIT_STATUS = "Exit status: 0 solved and checked, 1 unsolved or not checked, 2 usage, 3 engine or verifier failed."

EXTRAS = {
    "torch": "local",
    "transformers": "local",
    "safetensors": "local",
    "peft": "train",
    "reasoning_gym": "train",
    "matplotlib": "train",
    "sglang": "sglang",
    "starlette": "http",
    "uvicorn": "http",
    "openai": "openai",
    "mcp": "mcp",
}
"""Which extra brings a module."""

Json = Annotated[bool, typer.Option("--json", help="Results as JSON on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs.")]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""A disk that takes no more: nothing that the user wrote is wrong."""


class UsageError(ValueError):
    """The command line makes no sense; the message says what to write."""


Named = TypeVar("Named", bound=StrEnum)


@contextmanager
def errors(debug: bool, *, interrupted: str = "interrupted") -> Iterator[None]:
    """Turn errors into one line on standard error and an exit status; tracebacks and logs only with `--debug`.

    ValueError and OSError are the user's to mend (2); an :class:`UnavailableError`, a lost connection, a full disk, a
    missing module and a RuntimeError are trouble on this side (3).

    Args:
        debug: Whether tracebacks and logs are shown.
        interrupted: What Ctrl-C is answered with.
    """
    from espalier.common.logging import configure_logging  # here, so that --help imports no more than it needs

    configure_logging("debug" if debug else "critical")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a bar of our own covers the loading of a model
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what the user should know we say ourselves
    try:
        try:
            yield
        except BaseExceptionGroup as group:
            raise first_cause(group) from group
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        _fail(interrupted, INTERRUPTED, debug)
    except BrokenPipeError:
        _drop_output()  # its reader has left
        raise typer.Exit(NEGATIVE) from None
    except UnavailableError as error:
        # A refused request is a ValueError, too: the user's to mend.
        _fail(str(error), USAGE if isinstance(error, ValueError) else TROUBLE, debug)
    except ModuleNotFoundError as error:
        _fail(_missing(error), TROUBLE, debug)
    except ConnectionError as error:
        _fail(str(error), TROUBLE, debug)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        status = TROUBLE if error.errno in _FULL else USAGE
        _drop_output()
        _fail(f"{error.filename}: {error.strerror}" if named else error.strerror or str(error), status, debug)
    except ValueError as error:
        _fail(str(error), USAGE, debug)
    except RuntimeError as error:
        _fail(str(error) or type(error).__name__, TROUBLE, debug)
    except Exception as error:
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", TROUBLE, debug)


def one_of(kind: type[Named], value: str, option: str) -> Named:
    """The member of an enumeration that an option names.

    Raises:
        ValueError: It names none; the message names all.
    """
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{option} {value}: write one of {', '.join(kind)}") from None


def _drop_output() -> None:
    """Drop buffered output that cannot be written: Python would try again at its end, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str, *, err: bool = False) -> None:
    """Print text that a model or a file may have written: as it is, but on a terminal only what cannot steer it."""
    stream = sys.stderr if err else sys.stdout
    typer.echo(printable(text) if stream.isatty() else text, err=err)


def require_directory_of(file: Path, option: str) -> None:
    """Tell now that a file cannot be written, and not when what belongs into it has been worked out.

    Raises:
        UsageError: Its directory does not exist.
    """
    if not file.parent.is_dir():
        raise UsageError(f"{option}: there is no directory {file.parent}")


def read_standard_input() -> str:
    """All of standard input, read as a file is: UTF-8, whatever the locale says.

    Raises:
        UsageError: It is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from None


def _fail(message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    typer.echo(f"espalier: {printable(message)}", err=True)
    raise typer.Exit(status) from None


def _missing(error: ModuleNotFoundError) -> str:
    """Which extra brings a module that is not installed."""
    top = (error.name or "").partition(".")[0]
    if top in EXTRAS:
        return f"{top} is not installed; it comes with the extra: {install(EXTRAS[top])}"
    return f"the module {error.name} is not installed"
