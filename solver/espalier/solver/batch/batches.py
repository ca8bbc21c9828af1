"""A batch: all jobs of one submission, as its record in Redis tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espalier.common.errors import FieldError
from espalier.solver.batch.keys import job_id
from espalier.v1 import solver_pb2 as pb

MAX_PRIORITY = 100
"""Priorities go from its negative to it."""


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What a submission says of its batch beside its problems.

    Attributes:
        caller: Name of who submits; empty where callers have no names.
        webhook: URL that is told when the batch has ended; empty: none.
        input_file: Id of the file that the batch was made from; empty: none.
        metadata: The client's own.
        priority: Of its jobs before others of the same caller.
    """

    caller: str = ""
    webhook: str = ""
    input_file: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0

    def __post_init__(self) -> None:
        if abs(self.priority) > MAX_PRIORITY:
            raise FieldError("priority", f"is {self.priority}; give {-MAX_PRIORITY} to {MAX_PRIORITY}")

    def fields(self) -> dict[str, str]:
        """As fields of the record; empty ones are left out."""
        told = {
            "caller": self.caller,
            "webhook": self.webhook,
            "input_file": self.input_file,
            "metadata": json.dumps(dict(self.metadata), sort_keys=True) if self.metadata else "",
            "priority": str(self.priority) if self.priority else "",
        }
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Batch:
    """All jobs of one submission.

    Attributes:
        id: Of the batch.
        key: The client's.
        count: How many jobs there are.
        states: How many are in each state.
        submitted: When, in seconds since the epoch.
        finished: When the last of its jobs ended, if all have.
        cancelled: When it was cancelled as a whole, if it was.
        info: What its submission said of it.
    """

    id: str
    key: str
    count: int
    states: Mapping[int, int]
    submitted: float
    finished: float | None = None
    cancelled: float | None = None
    info: BatchInfo = BatchInfo()

    @property
    def jobs(self) -> Sequence[str]:
        """Ids, in the order of the problems."""
        return tuple(job_id(self.id, number) for number in range(self.count))

    @property
    def ended(self) -> int:
        """Jobs that run no more, also those that are gone."""
        return self.count - self.states[pb.JOB_STATE_QUEUED] - self.states[pb.JOB_STATE_RUNNING]

    @property
    def gone(self) -> int:
        """Jobs that Redis lost, as far as a repair has noticed."""
        return self.count - sum(self.states.values())


def decode_batch(batch: str, fields: Mapping[bytes, bytes]) -> Batch | None:
    """A batch from the fields of its record; None: there is no such record, or only a part of it."""
    if b"count" not in fields:
        return None

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode()

    def time(name: bytes) -> float | None:
        return float(fields[name]) if name in fields else None

    return Batch(
        id=batch,
        key=text(b"key"),
        count=int(fields[b"count"]),
        states={state: int(fields.get(str(state).encode(), 0)) for state in pb.JobState.values()},
        submitted=float(fields.get(b"submitted", 0)),
        finished=time(b"ended"),
        cancelled=time(b"cancelled"),
        info=BatchInfo(
            text(b"caller"),
            text(b"webhook"),
            text(b"input_file"),
            json.loads(fields.get(b"metadata") or b"{}"),
            int(fields.get(b"priority", 0)),
        ),
    )
