"""The solving server: gRPC and HTTP over one session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.common.grpc_server import GrpcServer, Listening, Servable
from espalier.common.security import ServerSecurity

if TYPE_CHECKING:
    from espalier.solver.service.http import HttpServer


class SolverServer(GrpcServer):
    """A gRPC server of the solver; with `http`, the same solver over HTTP too."""

    def __init__(
        self, service: Servable, settings: Listening, security: ServerSecurity, http: HttpServer | None = None
    ) -> None:
        super().__init__(service, settings, security)
        self._http = http
        if http is not None:
            http.show_health(lambda: self.serving)

    async def start(self) -> int:
        """See :meth:`GrpcServer.start`."""
        if self._http is None:
            return await super().start()
        self._http.start()
        try:
            return await super().start()
        except BaseException:
            await self._http.close()
            raise

    async def drain(self) -> None:
        """See :meth:`GrpcServer.drain`; both doors share the grace period."""
        await super().drain()
        if self._http is not None:
            await self._http.close()
