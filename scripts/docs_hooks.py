"""Hooks of mkdocs: pages that are written from the code, and links that leave docs/.

What is generated cannot drift: the command line from its Typer apps, metrics from the objects that count them, settings
from the dataclasses, messages from the .proto files, results and contributing from the files in the repository.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import posixpath
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
COPIES = {"results.md": "benchmarks/RESULTS.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages that are files elsewhere in the repository."""

SKIPPED = {"cli", "commands", "serve_cli", "harness", "sglang"}
"""Modules that are commands, run elsewhere, or need what is not installed here."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    pages = {
        "reference/cli.md": cli_page(),
        "reference/metrics.md": metrics_page(),
        "reference/settings.md": settings_page(),
        "reference/proto.md": proto_page(),
        **{page: (ROOT / source).read_text("utf-8") for page, source in COPIES.items()},
        **{f"reference/api/{room}.md": api_page(room) for room in ("solver", "verifiers", "runtime", "training")},
    }
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to pages, where there is one, and else show the path."""
    here = posixpath.dirname(COPIES.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    pages = {source: name for name, source in COPIES.items()}
    pages |= {f"docs/{file.src_uri}": file.src_uri for file in files.documentation_pages() if file.generated_by is None}
    at = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:|#", target) or not path:
            return found[0]
        source = posixpath.normpath(posixpath.join(here, path))
        if source in pages:
            return f"[{text}]({posixpath.relpath(pages[source], at or '.')}{'#' + anchor if anchor else ''})"
        if source.startswith("docs/"):
            return found[0]
        return f"{text} (`{source}`)" if source not in text else f"{text}"

    def shown(found: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join(here, found[2]))
        return f"{found[1]}{posixpath.relpath(source.removeprefix('docs/'), at or '.')})"

    markdown = re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", led, markdown)
    markdown = re.sub(r"(!\[[^\]]*\]\()([^)\s]+)\)", shown, markdown)
    return re.sub(r"^( *```\w+) .*$", r"\1", markdown, flags=re.MULTILINE)  # words for the tests


def cli_page() -> str:
    """Every command with its options."""
    from espalier.solver.cli.main import app

    lines = ["# Command line", "", "Every command has `--help`, which says the same as this page.", ""]
    lines += _command("espalier", typer.main.get_command(app), None)
    return "\n".join(lines)


def _command(name: str, command: Any, parent: Any) -> Iterator[str]:
    """A command and those below it."""
    context = command.make_context(name.rpartition(" ")[2], ["--help"], parent, resilient_parsing=True)
    command = context.command
    yield f"## `{name}`"
    yield ""
    yield from _prose(command.help or "")
    options = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    if options:
        yield from ("| option | default | |", "|---|---|---|")
    for parameter in options:
        default = parameter.default if parameter.default not in (None, False, ()) and parameter.name != "help" else ""
        default = "" if callable(default) or default == [] else f"`{default}`" if default != "" else ""
        shown = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            shown = f"`{parameter.metavar or parameter.name.upper()}`"
        variable = f" (`{parameter.envvar}`)" if getattr(parameter, "envvar", None) else ""
        yield f"| {shown.replace('|', chr(92) + '|')} | {default} | {_cell(parameter.help or '')}{variable} |"
    yield ""
    yield from _prose(getattr(command, "epilog", None) or "")
    for below in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _command(f"{name} {below}", command.get_command(context, below), context)


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; those that begin with a command are code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("espalier "):
            yield from ("```sh", paragraph, "```", "")
        elif paragraph:
            yield from (paragraph.replace("<", "&lt;"), "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def metrics_page() -> str:
    """Every metric of the services."""
    from espalier.solver.session.metrics import SolverMetrics as OfSolver
    from espalier.verifiers.metrics import VerifierMetrics as OfVerifiers

    verifiers = {metric.name for metric in OfVerifiers().registry.collect()}
    lines = [
        "# VerifierMetrics",
        "",
        "`espalier serve`, `espalier worker` and `espalier verifiers serve` show them at `--metrics HOST:PORT`.",
        "A dashboard and alerts that use them are in `deploy/`; see [Deploy](../howto/deploy.md).",
        "",
        "| metric | kind | labels | what it counts | shown by |",
        "|---|---|---|---|---|",
    ]
    for collector in OfSolver().registry._collector_to_names:
        for metric in collector.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # type: ignore[attr-defined]
            shown = "all" if metric.name in verifiers else "solver, workers"
            lines.append(f"| `{name}` | {metric.type} | {labels} | {_cell(metric.documentation)} | {shown} |")
    return "\n".join(lines)


def settings_page() -> str:
    """Settings of requests, servers, queues and sandboxes."""
    from espalier.runtime.engine import Limits, SamplingParams
    from espalier.runtime.local import LocalConfig
    from espalier.solver.batch.config import QueueConfig
    from espalier.solver.core.policies import POLICIES
    from espalier.solver.core.policy import Budget
    from espalier.solver.core.settings import ServerLimits, Settings
    from espalier.verifiers.check import MathOptions, PatchLimits, ProgramLimits
    from espalier.verifiers.code.settings import SandboxSettings
    from espalier.verifiers.patch.settings import PatchSettings

    kinds = (
        Settings,
        ServerLimits,
        Budget,
        *POLICIES.values(),
        QueueConfig,
        SamplingParams,
        Limits,
        LocalConfig,
        MathOptions,
    )
    lines = [
        "# Settings",
        "",
        "Defaults are those of the code. How the command line names them: [Command line](cli.md).",
        "",
    ]
    for kind in (*kinds, ProgramLimits, PatchLimits):
        lines += [f"## `{kind.__name__}`", "", f"*`{kind.__module__}`*", "", *_settings(kind)]
    for kind in (SandboxSettings, PatchSettings):
        lines += [
            f"## `{kind.__name__}`",
            "",
            "Read from the environment.",
            "",
            "| variable | default | |",
            "|---|---|---|",
        ]
        notes = _attribute_notes(kind)
        for name, field in kind.model_fields.items():
            varies = name == "concurrency" or field.default_factory is not None
            variable = f"{kind.model_config['env_prefix']}{name}".upper()
            lines.append(f"| `{variable}` | {'' if varies else f'`{field.default}`'} | {_cell(notes.get(name, ''))} |")
    return "\n".join(lines)


def _settings(kind: Any) -> Iterator[str]:
    text = inspect.getdoc(kind) or ""
    summary = text.partition("Attributes:")[0]
    yield from (_cell(summary).replace("&lt;", "<"), "", "| field | default | |", "|---|---|---|")
    told = {
        found[1]: _cell(found[2])
        for base in reversed(kind.__mro__)
        for found in re.finditer(
            r"^ {0,4}(\w+): (.+(?:\n {4,8}\S.*)*)",
            textwrap.dedent((inspect.getdoc(base) or "").partition("Attributes:")[2]),
            re.MULTILINE,
        )
    }
    for field in fields(kind):
        made = field.default_factory() if field.default_factory is not MISSING else field.default
        default = "" if made is MISSING else f"`{made!r}`"
        yield f"| `{field.name}` | {_cell(default)} | {told.get(field.name, '')} |"
    yield ""


def _attribute_notes(kind: type) -> dict[str, str]:
    """The strings below the fields of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: note.value.value
        for field, note in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
    }


def proto_page() -> str:
    """The contracts, with their comments."""
    lines = ["# Messages", "", "The contracts of the services, as they are. The stubs are in `espalier.v1`.", ""]
    for path in sorted((ROOT / "proto" / "espalier" / "v1").glob("*.proto")):
        lines += [f"## `{path.name}`", "", "```proto", path.read_text("utf-8").rstrip(), "```", ""]
    return "\n".join(lines)


def api_page(room: str) -> str:
    """All public modules of a room, from their docstrings."""
    folder = ROOT / room / "espalier" / room
    lines = [f"# `espalier.{room}`", ""]
    for module in pkgutil.walk_packages([str(folder)], f"espalier.{room}.", onerror=lambda _: None):
        if not module.ispkg and SKIPPED.isdisjoint(module.name.split(".")):
            lines += [f"::: {module.name}", ""]
    return "\n".join(lines)
