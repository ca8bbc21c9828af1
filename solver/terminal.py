"""What all commands share: exit statuses, errors in one line, output for people and for machines."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

SOLVED = 0
UNSOLVED = 1
USAGE = 2
TROUBLE = 3
INTERRUPTED = 130

EXIT_STATUS = "Exit status: 0 solved and checked, 1 unsolved or not checked, 2 usage, 3 engine or verifier failed."


class UsageError(ValueError):
    """The command line makes no sense; the message says what to write."""


@contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Turn errors into one line on standard error and an exit status; tracebacks only with `--debug`."""
    from espalier.runtime.engine import EngineError, RequestRefused
    from espalier.solver.causes import first_cause
    from espalier.solver.checks import CheckError
    from espalier.verifiers.logs import configure_logging

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
        _fail("interrupted", INTERRUPTED, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has left
        raise typer.Exit(UNSOLVED) from None
    except CheckError as error:
        _fail(f"--check {error}", USAGE, debug)
    except RequestRefused as error:
        _fail(str(error), USAGE, debug)
    except EngineError as error:
        _fail(str(error), TROUBLE, debug)
    except ModuleNotFoundError as error:
        _fail(_missing(error), TROUBLE, debug)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        _fail(f"{error.filename}: {error.strerror}" if named else str(error), USAGE, debug)
    except ValueError as error:
        _fail(str(error), USAGE, debug)
    except Exception as error:
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", TROUBLE, debug)


def _fail(message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    typer.echo(f"espalier: {message}", err=True)
    raise typer.Exit(status) from None


def _missing(error: ModuleNotFoundError) -> str:
    """Which extra brings a module that is not installed."""
    extras = {
        "reasoning_gym": "train",
        "matplotlib": "train",
        "sglang": "sglang",
        "starlette": "http",
        "uvicorn": "http",
    }
    top = (error.name or "").partition(".")[0]
    if top in extras:
        return f"{top} is not installed; it comes with the extra: pip install 'espalier[{extras[top]}]'"
    return f"the module {error.name} is not installed"
