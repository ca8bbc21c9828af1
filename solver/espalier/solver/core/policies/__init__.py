"""The policies by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from espalier.solver.core.policies.adaptive import Adaptive
from espalier.solver.core.policies.best_of_k import BestOfK
from espalier.solver.core.policies.greedy import Greedy
from espalier.solver.core.policies.refine import Refine
from espalier.solver.core.policies.rounds import Rounds

__all__ = ["POLICIES", "Adaptive", "BestOfK", "Greedy", "Refine", "Rounds", "policy", "takes"]

POLICIES: Mapping[str, type[Rounds]] = {kind.name: kind for kind in (Greedy, BestOfK, Adaptive, Refine)}
"""Every policy by the name that `--policy` and the API know."""


def policy(name: str, **settings: Any) -> Rounds:
    """The policy of this name.

    Raises:
        ValueError: There is none, or it has no such setting; the message lists what there is.
    """
    make = POLICIES.get(name)
    if make is None:
        raise ValueError(f"unknown policy {name!r}; there are: {', '.join(POLICIES)}")
    if foreign := [setting for setting in settings if not takes(name, setting)]:
        raise ValueError(f"policy {name} has no {', '.join(foreign)}; leave it out")
    return make(**settings)


def takes(name: str, setting: str) -> bool:
    """Whether the policy of this name, one of POLICIES, has such a setting."""
    return any(field.name == setting for field in fields(POLICIES[name]))
