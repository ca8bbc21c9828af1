"""Every key of the queue in Redis. The braces keep all of them in one slot of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

GROUP = "workers"
"""The consumer group of all workers."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one queue.

    Attributes:
        name: Of the queue; queues of different names share nothing.
    """

    name: str = "espalier"

    @property
    def jobs(self) -> str:
        """Stream of the ids of jobs that workers have, and of the next one; an entry goes with its job's end."""
        return f"{{{self.name}}}:jobs"

    @property
    def waiting(self) -> str:
        """Sorted set of the ids of jobs that wait for their turn, by number of submission."""
        return f"{{{self.name}}}:waiting"

    @property
    def turns(self) -> str:
        """Sorted set of callers with waiting jobs, by the turn in which they were served last. Behind a colon and the
        name of a caller: its batches in the same way.
        """
        return f"{{{self.name}}}:turns"

    @property
    def open(self) -> str:
        """Hash of how many jobs of each caller have not ended."""
        return f"{{{self.name}}}:open"

    @property
    def dead(self) -> str:
        """Stream of jobs that are given up, each with what is known of it."""
        return f"{{{self.name}}}:dead"

    @property
    def index(self) -> str:
        """Sorted set of all job ids, by number of submission."""
        return f"{{{self.name}}}:index"

    @property
    def batches(self) -> str:
        """Sorted set of all batch ids, by time of submission."""
        return f"{{{self.name}}}:batches"

    @property
    def expiry(self) -> str:
        """Sorted set of the ids of ended jobs and batches, by the time when they are forgotten."""
        return f"{{{self.name}}}:expiry"

    @property
    def webhooks(self) -> str:
        """Sorted set of callers with webhooks that are still to tell, by the time of the next try. Behind a colon and
        the name of a caller: the ids of its batches in the same way.
        """
        return f"{{{self.name}}}:webhooks"

    @property
    def files(self) -> str:
        """Sorted set of the ids of uploaded files, by the time of upload. Behind a colon and the name of a caller: its
        own in the same way.
        """
        return f"{{{self.name}}}:files"

    @property
    def sizes(self) -> str:
        """Hash of the bytes of each job, batch and file, and the name of its caller."""
        return f"{{{self.name}}}:sizes"

    @property
    def stored(self) -> str:
        """Hash of the bytes of each caller: the sum of its `sizes`."""
        return f"{{{self.name}}}:stored"

    @property
    def format(self) -> str:
        """Number of the format in which all of this is written."""
        return f"{{{self.name}}}:format"

    def file(self, file_id: str) -> str:
        """Hash of an uploaded file: its name, its owner, its content."""
        return f"{{{self.name}}}:file:{file_id}"

    @property
    def cancels(self) -> str:
        """Channel that tells workers of cancelled jobs."""
        return f"{{{self.name}}}:cancels"

    def batch(self, batch_id: str) -> str:
        """Hash of a batch: its client's key, its number of jobs, and how many of them are in each state."""
        return f"{{{self.name}}}:batch:{batch_id}"

    def job(self, job_id: str) -> str:
        """Hash of a job: the message, its status, its result."""
        return f"{{{self.name}}}:job:{job_id}"

    def journal(self, job_id: str) -> str:
        """Hash of a job's candidates by number, each with its verdict once it has one."""
        return f"{{{self.name}}}:journal:{job_id}"

    def events(self, job_id: str) -> str:
        """Capped stream of a job's progress."""
        return f"{{{self.name}}}:events:{job_id}"

    @property
    def shared(self) -> tuple[str, ...]:
        """What every script may work on beside keys of its own, in the order in which `lua/queue.lua` names it."""
        return (
            self.format,
            self.jobs,
            self.waiting,
            self.turns,
            self.open,
            self.dead,
            self.index,
            self.batches,
            self.expiry,
            self.webhooks,
            self.files,
            self.sizes,
            self.stored,
            self.batch(""),
            self.job(""),
            self.file(""),
        )

    def of(self, job_id: str) -> tuple[str, ...]:
        """What belongs to one job, in the order in which `lua/job.lua` names it."""
        return (
            self.job(job_id),
            self.journal(job_id),
            self.events(job_id),
            self.batch(batch_of(job_id)),
        )


def batch_id(client_key: str, caller: str = "") -> str:
    """The id of the batch that a caller submitted under a key; two callers may use the same one."""
    owner = blake2b(caller.encode(), digest_size=32).digest() if caller else b""
    return blake2b(client_key.encode(), digest_size=10, key=owner).hexdigest()


def job_id(batch: str, number: int) -> str:
    """The id of a job: a client that knows its key knows its jobs."""
    return f"{batch}-{number}"


def batch_of(job_id: str) -> str:
    """The id of a job's batch."""
    return job_id.rpartition("-")[0]
