"""Verdicts as the rewards and scores of other trainers and evaluation tools.

Nothing here imports those packages unless their module is imported: `rewards` fits TRL and verl, `inspect` inspect_ai.
"""
