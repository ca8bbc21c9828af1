"""The only place where an ERROR is asked again.

The caller's side retries: `LocalVerifiers` in its own process, `RemoteVerifiers` for servers. A verifier, a sandbox
and a server answer ERROR after one attempt, so that layers do not multiply attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from espalier.verifiers.verdict import Status, Verdict

MIN_RETRY_SECONDS = 0.05
"""With less time left, an ERROR is not asked again."""


async def with_retry(judge: Callable[[float | None], Awaitable[Verdict]], timeout: float | None) -> Verdict:
    """The first verdict that is not ERROR, of at most two.

    Args:
        judge: One attempt, within the seconds that it is given (None: without a limit).
        timeout: Seconds for both attempts together.
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    verdict = await judge(timeout)
    if verdict.status is not Status.ERROR:
        return verdict
    left = None if timeout is None else timeout - (clock() - start)
    if left is not None and left < MIN_RETRY_SECONDS:
        return verdict
    return await judge(left)
