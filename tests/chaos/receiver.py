"""A receiver of webhooks that tests kill: it notes the id of each event in a file, and then confirms it.

python -m tests.chaos.receiver PORT LOG
"""

from __future__ import annotations

import os
import sys

from aiohttp import web


def main(port: str, path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def hear(request: web.Request) -> web.Response:
        os.write(log, f"{request.headers['webhook-id']} {(await request.json())['data']['key']}\n".encode())
        return web.Response()

    app = web.Application()
    app.router.add_post("/told", hear)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
