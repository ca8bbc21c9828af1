"""The stock OpenAI client before a running service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai

from tests.solver.service.serving import Served, serving
from tests.solver.service.telling import Words, telling


def client(served: Served, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=served.http, api_key=key, max_retries=0)


@asynccontextmanager
async def answering(words: Words, judge: Any, **settings: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """A service whose model says these words."""
    async with telling(words) as engine, serving(engine, judge, **settings) as served, client(served) as ask:
        yield ask
