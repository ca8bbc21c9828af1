from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.sglang.client import sse
from espalier.runtime.sglang.client.sse import BrokenStream, messages

MESSAGES = [{"text": "a\n\nb: é"}, {"output_ids": list(range(50))}, {}, {"data": "data: [DONE]"}]
STREAM = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in MESSAGES)


async def cut(stream: bytes, places: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]
    for start, end in itertools.pairwise(edges):
        yield stream[start:end]


@given(st.lists(st.integers(min_value=0), max_size=40))
async def test_messages_do_not_depend_on_how_the_bytes_arrive(places: list[int]) -> None:
    stream = STREAM + b": keep alive\n\n" + b"data: [DONE]\n\ndata: {late}\n\n"
    assert [each async for each in messages(cut(stream, places))] == MESSAGES


@pytest.mark.parametrize("bad", [b"event: x\n\n", b"data: {\n\n", b"data: 1\n\n"])
async def test_what_is_no_message_is_named(bad: bytes) -> None:
    with pytest.raises(BrokenStream, match="no "):
        async for _ in messages(cut(STREAM + bad, [])):
            pass


async def test_a_message_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_MESSAGE", 100)
    with pytest.raises(BrokenStream, match="more than"):
        async for _ in messages(cut(b"data: " + b"x" * 200, list(range(0, 200, 10)))):
            pass
