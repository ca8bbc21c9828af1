"""What every handler over HTTP asks of a request first: from where it comes, and that its body is JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request

from espalier.common.errors import FieldError
from espalier.common.security import ServerSecurity, is_local
from espalier.solver.core.limits import require_no_surrogates
from espalier.solver.service.http_error import HttpError

BODY_SECONDS = 30.0
"""A body that takes longer does not come any more."""

SAME_SITE = ("same-origin", "none")
"""What a browser says (`Sec-Fetch-Site`) of requests that no other site made it send."""


def require_same_origin(request: Request, security: ServerSecurity) -> None:
    """Refuse what another site makes a browser ask for: by its origin, and by a name that it has pointed here.

    Raises:
        HttpError: The request comes from another site (403).
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    elsewhere = origin is not None and origin not in (f"http://{host}", f"https://{host}")
    if elsewhere or request.headers.get("sec-fetch-site", "none") not in SAME_SITE:
        raise HttpError(
            403, "permission_error", "another site may not ask on your behalf", code="cross_site", reason="cross_site"
        )
    # Without any token a name that another site has pointed at this machine would be as good as ours.
    open_to_all = not security.asks_for_token and security.certificate is None
    if open_to_all and not security.insecure and not is_local(host if _has_port(host) else f"{host}:80"):
        message = f"this server is not called {host[:80]!r}; use 127.0.0.1 or localhost, or give it a token"
        raise HttpError(403, "permission_error", message, code="wrong_host", reason="cross_site")


async def read_json(request: Request, max_bytes: int) -> Any:
    """The body of a request.

    Raises:
        HttpError: It is not declared as JSON (415), is too large (413), or takes too long (408).
        FieldError: It is not JSON, or holds text that is no text.
    """
    # A page of another site can make a browser send a form or plain text without asking, but not this type.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HttpError(415, "invalid_request_error", "send JSON, with the header Content-Type: application/json")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > max_bytes:
                    raise HttpError(413, "invalid_request_error", f"the body has more than {max_bytes} bytes")
    except TimeoutError:
        raise HttpError(408, "invalid_request_error", f"the body took more than {BODY_SECONDS:g} s") from None
    try:
        text = content.decode()
        value = json.loads(text)
        if "\\u" in text:  # the only way in for half a surrogate pair, which is no text and cannot be sent back
            require_no_surrogates(value, "")
    except UnicodeDecodeError as error:
        raise FieldError("body", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise FieldError("body", "is nested too deeply") from None
    except FieldError:
        raise
    except ValueError as error:  # also a number of more digits than Python converts
        raise FieldError("body", f"is not JSON: {error}") from None
    return value


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1
