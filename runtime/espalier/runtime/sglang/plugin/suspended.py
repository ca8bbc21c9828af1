"""What a branch that rests is for SGLang: finished, and yet it keeps all it holds."""

from __future__ import annotations

from sglang.srt.managers.schedule_batch import BaseFinishReason


class SuspendedReason(BaseFinishReason):  # type: ignore[misc]
    """Finish reason of a branch that rests: SGLang drops it from the running batch and keeps all it holds."""

    def to_json(self) -> dict[str, str]:
        return {"type": "parked"}
