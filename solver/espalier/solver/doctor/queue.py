"""Redis, for jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from espalier.solver.doctor.finding import Finding, note, ok, problem

OLDEST_REDIS = 7


def redis(url: str) -> Finding:
    """Redis answers, is new enough, and loses nothing that it confirmed."""
    from espalier.solver.batch.connection import shown

    try:
        info, settings = asyncio.run(_ask(url))
    except ValueError as error:
        return problem(f"{shown(url)} is no address of Redis: {error}", "write --redis redis://HOST:PORT/0")
    except Exception as error:  # a client has many ways to say that no server is there
        return note(
            f"no server answers at {shown(url)}: {error}",
            "only needed for jobs: scripts/redis.sh installs it, redis-server starts it, --redis names it",
        )
    version = str(info["redis_version"])
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        return problem(f"Redis {version} at {shown(url)}", f"the queue needs Redis {OLDEST_REDIS} or newer")
    if settings.get("appendonly") == "no":
        return note(
            f"Redis {version} keeps no append-only file", "jobs are lost when it ends: start it with --appendonly yes"
        )
    if settings.get("maxmemory-policy") not in (None, "noeviction"):
        advice = "start it with --maxmemory-policy noeviction: a queue is no cache"
        return note(f"Redis {version} evicts keys ({settings['maxmemory-policy']})", advice)
    return ok(f"Redis {version} at {shown(url)}")


async def _ask(url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What it says of itself, and of its settings if we may ask."""
    from redis.exceptions import ResponseError

    from espalier.solver.batch.connection import connect

    async with connect(url, retries=0) as client:
        info = await client.info("server")
        settings: Any
        try:
            settings = await client.config_get("appendonly", "maxmemory-policy")
        except ResponseError:  # an ACL forbids it
            settings = {}
    return info, settings
