"""Verdicts as the rewards and scores of other trainers and evaluation tools.

`rewards` fits TRL and verl, `prime` Prime Intellect's `verifiers`, `inspect_scorers` inspect_ai, and `lm_eval_metric`
lm-evaluation-harness. Only `inspect_scorers` imports the package that it is for.
"""
