"""`espalier serve`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.common.cli import Debug, UsageError, errors
from espalier.runtime.options import Constrained
from espalier.solver.cli.options import (
    AllowEvicting,
    CalibrationFile,
    Certainty,
    EngineOption,
    Hints,
    Instruction,
    MaxTokens,
    MinConfidence,
    OnlyVerifiers,
    Temperatures,
    Verifiers,
    VerifiersAuthority,
    VerifiersTokenFile,
    diversity,
    trust,
)

if TYPE_CHECKING:
    from espalier.common.grpc_server import Listening
    from espalier.common.security import ServerSecurity
    from espalier.runtime.defaults import DecodingOverrides
    from espalier.solver.batch.webhooks import WebhookSettings
    from espalier.solver.core.selection import Trust
    from espalier.solver.core.settings import ServerLimits
    from espalier.solver.core.ways import Way
    from espalier.solver.service.server import SolverServer
    from espalier.verifiers.local import LocalVerifiers
    from espalier.verifiers.remote import RemoteVerifiers
    from espalier.verifiers.verifier import VerifierInfo

UI_ADDRESS = "127.0.0.1:8000"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 drained after SIGTERM or SIGINT, 2 usage, 3 the engine failed.")
def serve(
    engine: EngineOption = "local",
    model_instruction: Instruction = None,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where gRPC listens; also unix:PATH.")
    ] = "127.0.0.1:50051",
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where OpenAI's protocol is spoken, too.")
    ] = None,
    ui: Annotated[
        bool, typer.Option("--ui", help=f"Live pages under /ui/ of --http (which is {UI_ADDRESS} unless it is given).")
    ] = False,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --ui: show the training runs in that folder.", file_okay=False),
    ] = None,
    metrics: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Show Prometheus metrics there.")] = None,
    redis: Annotated[
        str | None, typer.Option(envvar="ESPALIER_REDIS", metavar="URL", help="Take jobs, too, for the queue there.")
    ] = None,
    queue: Annotated[
        str, typer.Option(envvar="ESPALIER_QUEUE", metavar="NAME", help="Name of the queue in Redis.")
    ] = "espalier",
    allow_evicting: AllowEvicting = False,
    webhook_secret_file: Annotated[
        Path | None,
        typer.Option(help="File with the whsec_… that webhooks of batches are signed with.", dir_okay=False),
    ] = None,
    webhook: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Told of the end of batches that are submitted here without a webhook; their keys stand for it, too.",
        ),
    ] = "",
    webhook_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Host that webhooks of batches may name; repeat it, or * for any."),
    ] = None,
    webhook_private: Annotated[
        bool, typer.Option("--webhook-private", help="Webhooks may be on loopback and private addresses, without TLS.")
    ] = False,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a trace of each solve there.", file_okay=False)
    ] = None,
    calibration: CalibrationFile = None,
    min_confidence: MinConfidence = 0.0,
    verifiers: Verifiers = None,
    only: OnlyVerifiers = None,
    policy: Annotated[str, typer.Option(help="Of solves that name none.")] = "adaptive",
    certainty: Certainty = None,
    k: Annotated[int, typer.Option("--k", help="Candidates of a solve that does not say.", min=1)] = 8,
    max_k: Annotated[int, typer.Option("--max-k", help="Candidates that a solve may ask for.", min=1)] = 64,
    temperature: Temperatures = None,
    hint: Hints = None,
    max_tokens: MaxTokens = 4096,
    constrained: Constrained = None,
    seconds: Annotated[float, typer.Option(help="Longest time of a solve.", min=0.001)] = 300.0,
    max_solves: Annotated[int, typer.Option(help="Solves at once.", min=1)] = 8,
    max_waiting: Annotated[
        int, typer.Option(help="Solves that wait for their turn; more are told to come back.", min=0)
    ] = 64,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the bearer token to ask for.", dir_okay=False)
    ] = None,
    callers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML with a table for each caller: its token and limits.",
            dir_okay=False,
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.", dir_okay=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key.", dir_okay=False)] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM root that client certificates must come from (mTLS).", dir_okay=False)
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen on any address without token and TLS.")] = False,
    verifiers_token_file: VerifiersTokenFile = None,
    verifiers_tls_ca: VerifiersAuthority = None,
    grace: Annotated[float, typer.Option(help="Seconds for solves on their way after SIGTERM.", min=0.0)] = 30.0,
    health_interval: Annotated[float, typer.Option(help="Seconds between self-checks.", min=1.0)] = 30.0,
    max_message_mib: Annotated[int, typer.Option(help="Largest request and reply, MiB.", min=1, max=1024)] = 16,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    debug: Debug = False,
) -> None:
    """Serve the solver until SIGTERM: gRPC (espalier.v1.Solver), and with --http OpenAI's protocol.

    Health says SERVING once the engine has generated something and every verifier has proved itself.

    espalier serve --http 127.0.0.1:8000

    espalier serve --ui                              # watch solves on http://127.0.0.1:8000/ui/

    espalier serve --address 0.0.0.0:50051 --token-file token --metrics 127.0.0.1:9090 --redis redis://127.0.0.1:6379/0
    """
    with errors(debug):
        from structlog import get_logger

        from espalier.common.callers import Callers
        from espalier.common.grpc_server import Listening
        from espalier.common.grpc_server import serve as until_signalled
        from espalier.common.logging import configure_logging
        from espalier.common.security import ServerSecurity, read_token, require_free
        from espalier.runtime.defaults import DecodingOverrides
        from espalier.solver.core.prompts import instruction_files
        from espalier.solver.core.settings import ServerLimits
        from espalier.solver.session.spans import export
        from espalier.verifiers.open import open_verifiers

        configure_logging("debug" if debug else log_level)
        export()
        if traces is not None:
            traces.mkdir(parents=True, exist_ok=True)
        serving = _Serving(
            engine=engine,
            instructions=instruction_files(model_instruction),
            decoding=DecodingOverrides(constrained),
            limits=ServerLimits(
                policy=policy,
                policy_settings=diversity(temperature, hint),
                certainty=certainty,
                k=k,
                max_k=max_k,
                seconds=seconds,
                candidate_tokens=max_tokens,
            ),
            listening=Listening(address, metrics, grace, health_interval, max_message_mib),
            security=ServerSecurity(
                token=read_token(token_file) if token_file else None,
                certificate=tls_cert.read_bytes() if tls_cert else None,
                key=tls_key.read_bytes() if tls_key else None,
                client_authority=tls_client_ca.read_bytes() if tls_client_ca else None,
                callers=Callers(callers) if callers else None,
                insecure=insecure,
            ),
            verifiers=open_verifiers(verifiers, only, verifiers_token_file, verifiers_tls_ca),
            http=http or (UI_ADDRESS if ui else None),
            ui=ui,
            runs=runs,
            redis=redis,
            queue=queue,
            allow_evicting=allow_evicting,
            webhooks=_webhooks(webhook_secret_file, webhook, webhook_host or [], private=webhook_private),
            traces=traces,
            trust=trust(calibration, min_confidence),
            slots=max_solves,
            places=max_waiting,
        )

        if runs is not None and not ui:
            raise UsageError("--runs shows training runs on the live pages; give --ui, too")
        if serving.webhooks is not None and redis is None:
            raise UsageError("webhooks tell of batches, and batches need a queue; give --redis, too")
        for listened in filter(None, (address, serving.http)):
            port = listened.rpartition(":")[2]
            if not listened.startswith("unix:") and not (port.isdecimal() and int(port) < 1 << 16):
                raise UsageError(f"cannot listen on {listened!r}: give HOST:PORT")
            serving.security.require_safe(listened)  # now, not when the model has been loaded
            require_free(listened)
        if metrics is not None:
            require_free(metrics)

        async def run() -> None:
            async with serving.server() as server:
                await until_signalled(server)

        asyncio.run(run())
        get_logger().info("stopped")  # now that the engine is closed, too


@dataclass(frozen=True, slots=True, kw_only=True)
class _Serving:
    """All that a server is made of, as the command line says it."""

    engine: str
    instructions: Mapping[Way, Path]
    decoding: DecodingOverrides
    limits: ServerLimits
    listening: Listening
    security: ServerSecurity
    verifiers: LocalVerifiers | RemoteVerifiers
    http: str | None
    ui: bool
    runs: Path | None
    redis: str | None
    queue: str
    allow_evicting: bool
    webhooks: WebhookSettings | None
    traces: Path | None
    trust: Trust
    slots: int
    places: int

    @asynccontextmanager
    async def server(self) -> AsyncIterator[SolverServer]:
        """A server, not started yet, over an engine and verifiers that are closed at the end."""
        from espalier.runtime.open import open_engine
        from espalier.solver.core.generation import generation_of
        from espalier.solver.core.loop import Solver
        from espalier.solver.core.prompts import templates_of
        from espalier.solver.service.queue_access import QueueAccess
        from espalier.solver.service.readiness import Readiness
        from espalier.solver.service.server import SolverServer
        from espalier.solver.service.servicer import SolverService
        from espalier.solver.session.admission import Admission
        from espalier.solver.session.metrics import SolverMetrics
        from espalier.solver.session.session import SolveSession
        from espalier.solver.viewer.live import LiveSolves

        async with AsyncExitStack() as stack:
            job_queue, access = None, QueueAccess()
            if self.redis is not None:
                from espalier.solver.batch.connection import QueueUnavailableError, check_eviction, connect
                from espalier.solver.batch.keys import Keys
                from espalier.solver.batch.queue import JobQueue

                redis = await stack.enter_async_context(connect(self.redis))
                job_queue = JobQueue(redis, Keys(self.queue))

                async def check() -> None:
                    await check_eviction(redis, allowed=self.allow_evicting)
                    await job_queue.check_format()

                access = QueueAccess(job_queue, check, self.webhooks)
                with suppress(QueueUnavailableError):  # live solves need no queue; it is checked before its first use
                    await access.queue()
            await stack.enter_async_context(self.verifiers)
            engine = await stack.enter_async_context(open_engine(self.engine))
            generation = generation_of(engine, self.decoding)
            solver = Solver(engine, self.verifiers, templates_of(engine, self.instructions), generation, self.trust)
            admission = Admission(self.slots, self.places)
            live_solves = LiveSolves() if self.ui else None
            metrics = SolverMetrics()
            session = SolveSession(
                solver, self.limits, metrics, admission, self.traces, live_solves.show if live_solves else None
            )
            readiness = Readiness(solver, _description(self.verifiers), lambda: admission.running > 0)
            http = None
            if self.http is not None:
                from espalier.solver.service.batch_routes import BatchRoutes
                from espalier.solver.service.http import Endpoint, HttpServer

                max_body = self.listening.max_message_mib << 20
                endpoint = Endpoint(session, self.security, max_body)
                endpoint.add(BatchRoutes(session, access, max_body))
                if live_solves is not None:
                    from espalier.solver.viewer.routes import Pages
                    from espalier.solver.viewer.runs import Runs

                    endpoint.add(Pages(session, live_solves, job_queue, Runs(self.runs) if self.runs else None))
                http = HttpServer(endpoint, self.http, self.security)
            if self.redis is not None and self.webhooks is not None:
                from espalier.solver.batch.webhooks import WebhookSender

                sender = WebhookSender(redis, self.webhooks, metrics, Keys(self.queue))
                await stack.enter_async_context(running(sender.run()))
            service = SolverService(session, admission, readiness, self.security, access)
            yield SolverServer(service, self.listening, self.security, http)


def _webhooks(secret: Path | None, default: str, hosts: Sequence[str], *, private: bool) -> WebhookSettings | None:
    """Who may be told of the ends of batches; None: nobody."""
    from espalier.common.security import read_secret
    from espalier.solver.batch.webhooks import WebhookSettings, read_webhook_secret

    if secret is None:
        if default or hosts or private:
            raise UsageError("webhooks are signed; give --webhook-secret-file, too")
        return None
    return WebhookSettings(read_webhook_secret(read_secret(secret)), hosts, default, private)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on meanwhile, and is cancelled at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _description(verifiers: LocalVerifiers | RemoteVerifiers) -> Callable[[], Awaitable[Sequence[VerifierInfo]]]:
    """What self-checks verifiers: this process its own, a server those that it serves."""
    from espalier.verifiers.local import LocalVerifiers

    return verifiers.check if isinstance(verifiers, LocalVerifiers) else verifiers.describe
