"""A metric for tasks of lm-evaluation-harness; nothing of that package is imported. Beside the task's YAML, `utils.py`:

    from espalier.verifiers.integrations.lm_eval_metric import results_of

    process_results = results_of("answer")

and in the YAML `process_results: !function utils.process_results`, with the metric `verified` and its aggregation
`!function espalier.verifiers.integrations.lm_eval_metric.mean`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError
from espalier.verifiers.check import Claim
from espalier.verifiers.integrations.blocking import BlockingVerifiers, shared
from espalier.verifiers.integrations.rewards import reward_of
from espalier.verifiers.integrations.truths import check_of

METRIC = "verified"


def results_of(
    truth: str | Callable[[Mapping[str, Any]], Any], verifiers: Callable[[], BlockingVerifiers] = shared
) -> Callable[[Mapping[str, Any], Sequence[Any]], dict[str, float]]:
    """A `process_results` that judges the response to a document.

    Args:
        truth: Field of a document, or a function of one: a reference answer, a check as text, JSON with program cases,
            or a list of such, of which one has to be met.
        verifiers: Gives the verifiers to ask.

    Returns:
        `(doc, results) -> {"verified": …}`: 1.0 for PASS, 0.0 for FAIL, NaN where there is no verdict.
    """

    def process_results(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float]:
        response = results[0]
        if not isinstance(response, str):
            raise FieldError("results", "are several of one document; filter the task with take_first")
        if isinstance(truth, str) and truth not in doc:
            raise FieldError(truth, f"the document has no such field; there are: {', '.join(sorted(doc))}")
        found = doc[truth] if isinstance(truth, str) else truth(doc)
        truths = found if isinstance(found, list) else [found]
        field = truth if isinstance(truth, str) else "truth"
        verdicts = verifiers().verify([(Claim(response), check_of(one, field)) for one in truths])
        rewards = [reward_of(verdict) for verdict in verdicts]
        if 1.0 in rewards:
            return {METRIC: 1.0}
        return {METRIC: math.nan if None in rewards else 0.0}

    return process_results


def mean(values: Sequence[float]) -> float:
    """The mean of what has a verdict; NaN where nothing has."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
