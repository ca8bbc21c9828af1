"""Mathematics: parsing, equivalence, constraints and steps, all in worker processes that can be killed."""

from espalier.verifiers.math.verifier import MathVerifier
from espalier.verifiers.math.workers import PoolLimits

__all__ = ["MathVerifier", "PoolLimits"]
