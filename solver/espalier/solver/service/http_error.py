"""Requests over HTTP that get an error instead of an answer, in OpenAI's shape."""

from __future__ import annotations

import math
from typing import Any

from starlette.responses import JSONResponse, Response


class HttpError(Exception):
    """A request that gets an error in OpenAI's shape.

    Attributes:
        status: Of HTTP.
        kind: OpenAI's type of error.
        param: The field that is wrong.
        code: OpenAI's code.
        reason: Why, in the word that metrics and logs have for it over gRPC, too.
        delay: Seconds after which to come back.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        param: str | None = None,
        code: str | None = None,
        delay: float = 0,
        reason: str = "invalid",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.delay = delay
        self.reason = reason

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        headers = {"Retry-After": str(math.ceil(self.delay))} if self.delay else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body, self.status, headers)
