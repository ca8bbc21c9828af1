"""A job that was given up, with everything that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from espalier.solver.core.journal import Entry
from espalier.solver.core.proto import decode_entry
from espalier.v1 import solver_pb2 as pb


@dataclass(frozen=True, slots=True)
class DeadJob:
    """One entry of the dead-letter stream.

    Attributes:
        job: What was to be done.
        reason: Why it was given up.
        error: The last error that a worker could still tell; empty when none could.
        attempts: Deliveries.
        entries: The trace so far: every candidate that was stored, with its verdict if it had one.
    """

    job: pb.Job
    reason: str
    error: str
    attempts: int
    entries: tuple[Entry, ...]


def decode_dead_job(fields: Mapping[bytes, bytes]) -> DeadJob:
    """A dead job from the fields of its entry."""
    stored = (
        decode_entry(pb.Candidate.FromString(value)) for name, value in fields.items() if name.startswith(b"candidate:")
    )
    return DeadJob(
        job=pb.Job.FromString(fields[b"job"]),
        reason=fields[b"reason"].decode(errors="replace"),
        error=fields[b"error"].decode(errors="replace"),
        attempts=int(fields[b"attempts"]),
        entries=tuple(sorted(stored, key=lambda entry: entry.candidate.spec.index)),
    )
