"""The journal of a solve in the queue: each candidate in Redis before it is judged, each verdict before it counts."""

from __future__ import annotations

from espalier.solver.batch.connection import wait_out_outage
from espalier.solver.batch.lease.lease import Lease
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.journal import Entry
from espalier.verifiers.verdict import Status, Verdict


class LeasedJournal:
    """Stores under a lease, and waits while Redis is gone.

    Its methods raise LeaseLostError when the job is not this worker's any more, which ends the solve.
    """

    def __init__(self, leases: LeaseStore, lease: Lease) -> None:
        self._leases = leases
        self._lease = lease

    async def generated(self, candidate: Candidate) -> None:
        """Store a candidate, before it is judged."""
        await self._store(Entry(candidate))

    async def judged(self, candidate: Candidate, verdict: Verdict) -> None:
        """Store a candidate as it was judged, before the policy is told.

        ERROR says nothing of the candidate: a later delivery has it judged again.
        """
        if verdict.status is not Status.ERROR:
            await self._store(Entry(candidate, verdict))

    async def _store(self, entry: Entry) -> None:
        await wait_out_outage(lambda: self._leases.store(self._lease, entry))
