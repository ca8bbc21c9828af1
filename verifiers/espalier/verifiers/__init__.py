"""Verifiers: a claim and a check in, a verdict out.

The names below are what users need; each is imported when it is first used, so that `--help` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.verifiers.answer import answer_of, branch_answer, final_answer
    from espalier.verifiers.check import (
        Check,
        Claim,
        ConstraintCheck,
        CustomCheck,
        MathOptions,
        PatchCheck,
        ProgramCheck,
        ReferenceCheck,
        StepCheck,
    )
    from espalier.verifiers.check_text import parse_check
    from espalier.verifiers.local import LocalVerifiers
    from espalier.verifiers.open import open_verifiers
    from espalier.verifiers.remote import RemoteVerifiers
    from espalier.verifiers.verdict import Evidence, Status, Verdict
    from espalier.verifiers.verifier import Verifier

_WHERE = {
    **dict.fromkeys(("answer_of", "branch_answer", "final_answer"), "answer"),
    **dict.fromkeys(("Check", "Claim", "ConstraintCheck", "CustomCheck", "MathOptions"), "check"),
    **dict.fromkeys(("PatchCheck", "ProgramCheck", "ReferenceCheck", "StepCheck"), "check"),
    "parse_check": "check_text",
    "LocalVerifiers": "local",
    "open_verifiers": "open",
    "RemoteVerifiers": "remote",
    **dict.fromkeys(("Evidence", "Status", "Verdict"), "verdict"),
    "Verifier": "verifier",
}

__all__ = [
    "Check",
    "Claim",
    "ConstraintCheck",
    "CustomCheck",
    "Evidence",
    "LocalVerifiers",
    "MathOptions",
    "PatchCheck",
    "ProgramCheck",
    "ReferenceCheck",
    "RemoteVerifiers",
    "Status",
    "StepCheck",
    "Verdict",
    "Verifier",
    "answer_of",
    "branch_answer",
    "final_answer",
    "open_verifiers",
    "parse_check",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
