"""JSON lines on standard error, with whatever is bound to the running task (request ids)."""

from __future__ import annotations

import logging
import sys

import structlog

from espalier.common.terminal import printable


def configure_logging(level: str = "info") -> None:
    """Let structlog and the standard library log to standard error: JSON lines, or lines for people on a terminal.

    Raises:
        ValueError: No such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"no log level {level!r}; use debug, info, warning or error")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        shared.append(_printable)
        render = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    logger = structlog.WriteLogger(sys.stderr)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: logger,  # one for all lines, not a new one for each
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _printable(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What a model or a client wrote may be in a line, and must not steer the terminal."""
    return {key: printable(value if isinstance(value, str) else repr(value)) for key, value in line.items()}
