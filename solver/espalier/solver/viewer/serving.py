"""Show a page on this machine until interrupted."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from espalier.solver.trace.reader import TraceError

LOOPBACK = "127.0.0.1"


def page_server(make: Callable[[], str], port: int) -> ThreadingHTTPServer:
    """A server of one page at `/`, on loopback only. The page is made anew for each visit, so that a trace can grow.

    Args:
        make: Makes the page.
        port: Where to listen; 0: any free port.

    Raises:
        OSError: The port cannot be listened on.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                self.send_error(404)
                return
            try:
                status, kind, text = 200, "text/html", make()
            except (OSError, TraceError) as error:
                status, kind, text = 500, "text/plain", str(error)
            body = text.encode(errors="replace")
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer((LOOPBACK, port), Handler)
