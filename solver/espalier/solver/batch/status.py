"""How a job stands, as Redis keeps it and as the contract says it."""

from __future__ import annotations

from collections.abc import Mapping

from espalier.v1 import solver_pb2 as pb

STATUS = ("state", "submitted", "started", "finished", "attempts", "candidates", "reason")
"""Fields of a job's hash, and of its events of status, by the names of `JobStatus`."""

ENDED = frozenset({pb.JOB_STATE_DONE, pb.JOB_STATE_CANCELLED, pb.JOB_STATE_DEAD})
"""States in which nothing more happens by itself."""


class UnknownJobError(LookupError):
    """There is no such job, or it is forgotten."""


def decode_status(job: str, fields: Mapping[str, bytes | None]) -> pb.JobStatus:
    """The status of a job.

    Raises:
        UnknownJobError: The fields are those of no job.
    """
    state = fields.get("state")
    if state is None:
        raise UnknownJobError(f"there is no job {job}, or it ended too long ago")
    status = pb.JobStatus(id=job, state=pb.JobState.Name(int(state)))
    for name in ("submitted", "started", "finished"):
        if (seconds := fields.get(name)) is not None:
            setattr(status, name, float(seconds))
    for name in ("attempts", "candidates"):
        setattr(status, name, int(fields.get(name) or 0))
    status.reason = (fields.get("reason") or b"").decode(errors="replace")
    return status
