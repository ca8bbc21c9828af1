"""What the solving service costs, and how fast it lets go.

    python benchmarks/service.py [--seconds 5] [--engine-ms 100]

Three tables. The first: latency that the service adds, from the client's call to its reply, to a solve whose engine
takes a fixed time and does nothing; what the median solve takes without the service, in as many tasks, is subtracted
("no service" shows it, less the engine's own time; "gRPC, no solve" is a whole call that does nothing: a limit).
1, 8 and 64 clients each wait for a reply, and then for a random
time up to that of the engine, so that they do not march in step. The second: the same with an engine that answers at
once, without pauses, nothing subtracted: solves per second, and the latency of a server that is never idle. Clients and
server are two processes; every client has a connection of its own, and all of them share an event loop: "client" and
"server" are the milliseconds of processor time that a call takes there. The third: time from a client's cancel, and
from a deadline, to the moment when all memory of the real engine is free again; the model is random and never ends by
itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import httpx2 as httpx
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from espalier.common.grpc_server import Listening
from espalier.common.logging import configure_logging
from espalier.common.security import ServerSecurity
from espalier.runtime.engine import EngineInfo, Event, Finished, FinishReason, GenerateRequest, Rollout, Tokens, Usage
from espalier.solver.core.loop import Solver, Verifiers
from espalier.solver.core.proto import decode_problem, decode_settings
from espalier.solver.core.settings import ServerLimits
from espalier.solver.service.http import Endpoint, HttpServer
from espalier.solver.service.readiness import Readiness
from espalier.solver.service.server import SolverServer
from espalier.solver.service.servicer import SolverService
from espalier.solver.session.admission import Admission
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SolveSession
from espalier.v1 import common_pb2, solver_pb2, solver_pb2_grpc
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Status, Verdict

CLIENTS = (1, 8, 64)
ANSWER = "\\boxed{42}"
PASS = Verdict(Status.PASS, 1.0, "noop")
PROBLEM = common_pb2.Problem(
    text="What is 6 times 7?", check=common_pb2.Check(reference=common_pb2.ReferenceCheck(answer="42"))
)
REQUEST = solver_pb2.SolveRequest(problem=PROBLEM, settings=solver_pb2.Settings(policy="greedy", seed=1))
BODY = {
    "model": "espalier",
    "messages": [{"role": "user", "content": PROBLEM.text}],
    "check": "reference:42",
    "policy": "greedy",
}


# The server's side.


class NoTokenizer:
    """One token a character."""

    eos_token_id = 0

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(map(ord, text))

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(map(chr, tokens))

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return messages[0]["content"]

    def get_added_vocab(self) -> dict[str, int]:
        return {}


@dataclass
class NoEngine:
    """Waits, then answers in one piece."""

    seconds: float
    tokenizer: NoTokenizer = field(default_factory=NoTokenizer)
    info: EngineInfo = field(default_factory=lambda: EngineInfo("noop", 1 << 20, parallel=False))

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        await asyncio.sleep(self.seconds)
        tokens = tuple(map(ord, ANSWER))
        nothing = (0.0,) * len(tokens)
        sampled = (False,) * len(tokens)
        positions = tuple(range(len(tokens)))
        yield Tokens(request.request_id, (), tokens, nothing, sampled, positions)
        rollout = Rollout(request.prompt, tokens, nothing, sampled, positions, ((),) * len(tokens))
        usage = Usage(len(request.prompt), len(tokens), 0, len(tokens))
        yield Finished(request.request_id, FinishReason.STOP, usage, rollout)

    async def abort(self, request_id: str) -> None:
        pass

    async def close(self) -> None:
        pass


class NoJudge:
    """Always content."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        return PASS

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        pass

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        return PASS


async def nothing() -> tuple[()]:
    return ()


async def start(
    engine: Any, judge: Verifiers, limits: ServerLimits = ServerLimits()
) -> tuple[SolverServer, SolverMetrics, int, int]:
    """A server that has warmed up, its metrics, and its ports: gRPC's and HTTP's."""
    admission = Admission(max(CLIENTS), max(CLIENTS))
    session = SolveSession(Solver(engine, judge), limits, SolverMetrics(), admission)
    http = HttpServer(Endpoint(session, ServerSecurity(), 1 << 20), "127.0.0.1:0", ServerSecurity())
    service = SolverService(session, admission, Readiness(session.solver, nothing, lambda: True), ServerSecurity())
    server = SolverServer(service, Listening(health_seconds=3600.0), ServerSecurity(), http)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        async for reply in health.Watch(health_pb2.HealthCheckRequest()):
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                break
    return server, session.metrics, port, http.port


async def serve(engine_ms: float) -> None:
    configure_logging("info")
    _, _, *ports = await start(NoEngine(engine_ms / 1000), NoJudge())
    print(*ports, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent closes it
    os._exit(0)


# The clients' side.


async def ask_until(stop: float, ask: Callable[[], Awaitable[object]], latencies: list[float], pause: float) -> None:
    while True:
        await asyncio.sleep(random.uniform(0, pause))
        if (begin := time.perf_counter()) >= stop:
            return
        await ask()
        latencies.append(time.perf_counter() - begin)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a number of clients saw: seconds of each call, calls per second, and processor time of a call in seconds."""

    latencies: list[float]
    rate: float
    client: float
    server: float


async def measured(asking: Callable[[list[float]], Awaitable[object]], server: psutil.Process | None) -> Measured:
    """Let clients ask, and watch the clock and the processor."""
    latencies: list[float] = []
    begin, client = time.perf_counter(), time.process_time()
    served = processor_time(server)
    await asking(latencies)
    calls = len(latencies)
    return Measured(
        latencies,
        calls / (time.perf_counter() - begin),
        (time.process_time() - client) / calls,
        (processor_time(server) - served) / calls,
    )


def processor_time(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(
    entrance: str, ports: list[int], clients: int, seconds: float, pause: float, server: psutil.Process | None = None
) -> Measured:
    """All calls after a warm-up."""
    async with AsyncExitStack() as stack:
        asks = [await stack.enter_async_context(ENTRANCES[entrance](ports)) for _ in range(clients)]
        warm: list[float] = []
        await asyncio.gather(*(ask_until(time.perf_counter() + 0.5, ask, warm, pause) for ask in asks))
        stop = time.perf_counter() + seconds
        return await measured(
            lambda latencies: asyncio.gather(*(ask_until(stop, ask, latencies, pause) for ask in asks)), server
        )


class GrpcClient:
    """A connection of its own to the gRPC entrance."""

    def __init__(self, ports: list[int]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}", options)
        self._stub: Any = solver_pb2_grpc.SolverStub(self._channel)  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Callable[[], Awaitable[object]]:
        return self.ask

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def ask(self) -> None:
        assert (await self._stub.SolveOnce(REQUEST)).answer == "42"


class StreamClient(GrpcClient):
    """Reads all events."""

    async def ask(self) -> None:
        events = [event async for event in self._stub.Solve(REQUEST)]
        assert events[-1].solved.answer == "42"


class BareClient(GrpcClient):
    """Asks the server for its health, which is known: what gRPC takes for a call that does nothing."""

    async def ask(self) -> None:
        reply = await health_pb2_grpc.HealthStub(self._channel).Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


class HttpClient:
    """A connection of its own to the HTTP entrance; bare, because the stock client's own work is not the server's."""

    def __init__(self, ports: list[int]) -> None:
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[1]}/v1")

    async def __aenter__(self) -> Callable[[], Awaitable[object]]:
        return self.ask

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self) -> None:
        reply = await self._client.post("/chat/completions", json=BODY)
        assert reply.json()["choices"][0]["message"]["content"] == "42"


DIRECT = "no service"
BARE = "gRPC, no solve"
ENTRANCES: dict[str, Any] = {
    BARE: BareClient,
    "gRPC SolveOnce": GrpcClient,
    "gRPC Solve": StreamClient,
    "HTTP": HttpClient,
}


async def directly(pause: float, clients: int, seconds: float) -> Measured:
    """The solver itself, in this process."""
    solver = Solver(NoEngine(pause), NoJudge())
    problem, limits = decode_problem(PROBLEM), ServerLimits()
    settings = decode_settings(REQUEST.settings)

    async def ask() -> None:
        plan = limits.plan(settings)
        await solver.solve(problem, plan.policy, plan.budget, seed=plan.seed)

    stop = time.perf_counter() + seconds
    return await measured(
        lambda latencies: asyncio.gather(*(ask_until(stop, ask, latencies, pause) for _ in range(clients))), None
    )


def load(engine_ms: float, seconds: float) -> dict[tuple[str, int], Measured]:
    """Every entrance at every number of clients, against a server process of its own."""
    pause = engine_ms / 1000
    command = [sys.executable, __file__, "--serve", "--engine-ms", str(engine_ms)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout and server.stdin
        ports = [int(port) for port in server.stdout.readline().split()]
        process = psutil.Process(server.pid)
        results = {(DIRECT, clients): asyncio.run(directly(pause, clients, seconds)) for clients in CLIENTS}
        for entrance in ENTRANCES:
            for clients in CLIENTS:
                results[entrance, clients] = asyncio.run(measure(entrance, ports, clients, seconds, pause, process))
        server.stdin.close()
    return results


def table(title: str, results: dict[tuple[str, int], Measured], subtracted_ms: Callable[[str, int], float]) -> None:
    print(
        f"\n{title}\n{'entrance':16}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'solves/s':>10}{'client':>9}{'server':>9}"
    )
    for (entrance, clients), seen in results.items():
        less = subtracted_ms(entrance, clients)
        quantiles = statistics.quantiles([1000 * latency - less for latency in seen.latencies], n=100)
        print(
            f"{entrance:16}{clients:8}{quantiles[49]:9.2f}{quantiles[98]:9.2f}{seen.rate:10.0f}"
            f"{1000 * seen.client:9.2f}{1000 * seen.server:9.2f}"
        )


# Letting go.
# ruff: noqa: ASYNC110 (the engine does not announce its memory)


async def letting_go(repeats: int) -> None:
    """Time from cancel and from deadline to a free engine, over gRPC, with 4 candidates decoding."""
    engine = endless_engine()
    limits = ServerLimits(policy="best_of_k", k=4, seconds=60, candidate_tokens=1900)
    async with engine:
        server, metrics, port, _ = await start(engine, NoJudge(), limits)
        request = solver_pb2.SolveRequest(problem=PROBLEM)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = solver_pb2_grpc.SolverStub(channel)  # type: ignore[no-untyped-call]
            total = engine.info.details["kv_tokens"]

            def free() -> bool:
                return bool(engine.info.details["kv_tokens_free"] == total)

            times: dict[str, list[float]] = {"cancel": [], "deadline": []}
            for _ in range(repeats):
                call = stub.SolveOnce(request)
                while free():
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.2)
                begin = time.perf_counter()
                call.cancel()
                while not free():
                    await asyncio.sleep(0.0005)
                times["cancel"].append(time.perf_counter() - begin)
            ended = {"policy": "best_of_k", "end": "cancelled"}
            assert metrics.registry.get_sample_value("espalier_solves_total", ended) == repeats
            for _ in range(repeats):
                begin = time.perf_counter()
                answered = asyncio.ensure_future(stub.SolveOnce(request, timeout=0.6))
                while free():
                    await asyncio.sleep(0.001)
                while not free():
                    await asyncio.sleep(0.0005)
                times["deadline"].append(time.perf_counter() - begin - 0.6)
                assert (await answered).stopped == "seconds"
        await server.drain()
    print(f"\nTime to a free engine ({repeats} times; before a deadline: negative)")
    print(f"{'since':10}{'p50 ms':>9}{'max ms':>9}")
    for name, values in times.items():
        print(f"{name:10}{1000 * statistics.median(values):9.1f}{1000 * max(values):9.1f}")


def endless_engine() -> Any:
    """The real engine with a random model of the bundled one's kind, that never says a tag or an end."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from espalier.runtime.grammar import Vocabulary
    from espalier.runtime.local import SEEDLING, LocalConfig, LocalEngine
    from espalier.runtime.local.sampler import DefaultSampler, SamplingInput

    tokenizer = AutoTokenizer.from_pretrained(SEEDLING)
    banned = [*Vocabulary.of(tokenizer).tags, tokenizer.eos_token_id]

    class Endless:
        def sample(self, inputs: list[SamplingInput], logits: torch.Tensor) -> tuple[list[int], list[float]]:
            logits = logits.clone()
            logits[:, banned] = -torch.inf
            return DefaultSampler().sample(inputs, logits)

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
    )
    model = Qwen3ForCausalLM(config).eval()
    return LocalEngine.serve(model, tokenizer, LocalConfig(device="cpu", kv_tokens=1 << 14), Endless())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--engine-ms", type=float, default=100.0, help="what the engine of the first table takes")
    parser.add_argument("--repeats", type=int, default=20, help="of the third table")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.engine_ms))
        return
    slow = load(arguments.engine_ms, arguments.seconds)
    direct = {clients: 1000 * statistics.median(slow[DIRECT, clients].latencies) for clients in CLIENTS}
    table(
        f"Latency added to a solve of {arguments.engine_ms:g} ms",
        slow,
        lambda entrance, clients: {DIRECT: arguments.engine_ms, BARE: 0.0}.get(entrance, direct[clients]),
    )
    table("An engine that answers at once", load(0.0, arguments.seconds), lambda *_: 0.0)
    configure_logging("warning")
    asyncio.run(letting_go(arguments.repeats))


if __name__ == "__main__":
    main()
