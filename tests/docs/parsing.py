"""Are commands that cannot run here at least commands that exist, with options that exist?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import typer

ROOT = Path(__file__).parents[2]
OPERATORS = set("|&;<>()")


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of shell, without variables that are set and without redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    skip = False
    for token in lexer:
        if set(token) <= OPERATORS:
            if set(token) & {"<", ">"}:
                skip = True  # the file's name
                if words and words[-1].isdigit():
                    words.pop()
            else:
                yield words
                words = []
        elif skip:
            skip = False
        elif words or "=" not in token.partition("-")[0]:
            if token.startswith("#"):
                break
            words.append(token)
    yield words


@cache
def _program(name: str) -> Any:
    from espalier.solver.cli.main import app as espalier
    from recipes.seedling.cli import app as seedling

    return typer.main.get_command({"espalier": espalier, "recipes.seedling": seedling}[name])


def fault(words: list[str]) -> str:
    """What is wrong with a simple command; empty when nothing is."""
    match words:
        case ["espalier", *arguments]:
            return _parsed("espalier", arguments)
        case ["python" | ".venv/bin/python", "-m", "recipes.seedling", *arguments]:
            return _parsed("recipes.seedling", arguments)
        case ["python" | ".venv/bin/python", "-m", module, *_] if module.startswith(("benchmarks.", "recipes.")):
            place = ROOT / module.replace(".", "/")
            there = place.with_suffix(".py").exists() or (place / "__main__.py").exists()
            return "" if there else f"there is no module {module}"
        case ["python" | ".venv/bin/python" | "bash", script, *_] if script.endswith((".py", ".sh")):
            return "" if (ROOT / script).exists() else f"there is no file {script}"
        case [script, *_] if script.startswith("scripts/"):
            return "" if (ROOT / script).exists() else f"there is no file {script}"
        case ["make", target, *_] if target.replace("-", "").isalpha():
            found = f"\n{target}:" in (ROOT / "Makefile").read_text()
            return "" if found else f"the Makefile has no target {target}"
    return ""


def _parsed(name: str, arguments: list[str]) -> str:
    """Parse as the program would, through all its groups; nothing is run."""
    command, parent = _program(name), None
    try:
        while True:
            context = command.make_context(name, list(arguments), parent)
            command = context.command
            if not isinstance(command, click.Group) and not hasattr(command, "resolve_command"):
                return ""
            rest = [*context.protected_args, *context.args] if hasattr(context, "protected_args") else context.args
            rest = [*getattr(context, "_protected_args", []), *context.args] or rest
            name, command, arguments = command.resolve_command(context, rest)
            parent = context
    except click.exceptions.Exit:
        return ""  # --help, --version
    except click.ClickException as error:
        return error.format_message()
    except Exception as error:  # Typer has its own exceptions of the same names
        said = getattr(error, "format_message", None)
        return said() if said else f"{type(error).__name__}: {error}"
