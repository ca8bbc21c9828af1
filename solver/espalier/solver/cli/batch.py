"""`espalier batch …` for those who have problems, `espalier worker` for those who have engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.common.cli import (
    INTERRUPTED,
    NEGATIVE,
    OK,
    TROUBLE,
    Debug,
    Json,
    UsageError,
    errors,
    read_standard_input,
    say,
)
from espalier.common.files import replacing
from espalier.common.terminal import printable
from espalier.runtime.options import Constrained
from espalier.solver.cli.options import (
    AllowEvicting,
    CalibrationFile,
    Certainty,
    Comparisons,
    EngineOption,
    GeneratedTests,
    Hints,
    Instruction,
    MaxTokens,
    MinConfidence,
    OnlyVerifiers,
    Temperatures,
    Verifiers,
    VerifiersAuthority,
    VerifiersTokenFile,
    Ways,
    diversity,
    names_of,
    trust,
)

if TYPE_CHECKING:
    from espalier.common.security import ClientSecurity
    from espalier.solver.batch.batches import Batch
    from espalier.solver.batch.queue import BatchRow, Depth, JobQueue, Repaired, WorkerStatus
    from espalier.solver.batch.remote import RemoteQueue
    from espalier.v1 import solver_pb2 as pb

SHOWN = 10
"""Dead jobs that `status` shows."""

STATES = ("queued", "running", "done", "cancelled", "dead")

_EPILOG = "Exit status: 0 all is well, 1 some jobs have no result, 2 usage, 3 Redis cannot be reached."

app = typer.Typer(
    name="batch",
    help="Solve many problems over a queue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
worker_app = typer.Typer(name="worker", add_completion=False, pretty_exceptions_enable=False)

RedisOption = Annotated[
    str, typer.Option("--redis", envvar="ESPALIER_REDIS", metavar="URL", help="Where the queue is.")
]
QueueOption = Annotated[
    str, typer.Option("--queue", envvar="ESPALIER_QUEUE", metavar="NAME", help="Name of the queue in Redis.")
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server", envvar="ESPALIER_SERVER", metavar="HOST:PORT", help="Ask this server (gRPC) instead of Redis."
    ),
]
TokenFile = Annotated[Path | None, typer.Option(help="File with the bearer token of the server.", dir_okay=False)]
Authority = Annotated[
    Path | None, typer.Option("--tls-ca", help="PEM root of the server's certificate; turns TLS on.", dir_okay=False)
]
BatchArgument = Annotated[str, typer.Argument(metavar="BATCH", help="Key or id of the batch.")]
BatchOrJob = Annotated[str, typer.Argument(metavar="BATCH|JOB", help="Key or id of a batch, or the id of a job.")]
REDIS = "redis://127.0.0.1:6379/0"
QUEUE = "espalier"


@app.command(epilog=_EPILOG)
def submit(
    problems: Annotated[str, typer.Argument(metavar="FILE", help='JSON lines {"text": …, "id": …, "check": …}, or -.')],
    key: Annotated[
        str, typer.Option(help="Your name for the batch: the same key again submits nothing twice. Default: a new one.")
    ] = "",
    policy: Annotated[str | None, typer.Option(help="greedy, best_of_k, adaptive or refine.")] = None,
    certainty: Certainty = None,
    k: Annotated[int | None, typer.Option("--k", help="Candidates of each problem at most.")] = None,
    tokens: Annotated[int | None, typer.Option(help="New tokens of all candidates of a problem.")] = None,
    candidate_tokens: Annotated[int | None, typer.Option(help="New tokens of one candidate.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time for each problem.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of candidates.")] = None,
    rejoins: Annotated[
        int | None, typer.Option(help="Further conclusions from the branches of each candidate.", min=0)
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every problem; each draws its own otherwise.", min=0)] = None,
    ways: Ways = None,
    priority: Annotated[int, typer.Option(help="Jobs of a higher one come first; -100 to 100.")] = 0,
    webhook: Annotated[
        str, typer.Option(metavar="URL", help="Told when the batch has ended, by a server with --webhook-secret-file.")
    ] = "",
    generated_tests: GeneratedTests = None,
    comparisons: Comparisons = 0,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    server: ServerOption = None,
    token_file: TokenFile = None,
    tls_ca: Authority = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Queue a file of problems, all of them or none, and print the key of the batch.

    espalier batch submit problems.jsonl --key monday --k 16

    espalier batch watch monday && espalier batch results monday -o results.jsonl
    """
    with _errors(debug):
        from espalier.common.errors import FieldError
        from espalier.solver.batch.batches import BatchInfo
        from espalier.solver.batch.webhooks import parse_webhook
        from espalier.solver.cli.submission import validate_checks
        from espalier.solver.core.policy import MAX_CANDIDATES
        from espalier.solver.core.problem import lines_of, read_problems
        from espalier.solver.core.proto import encode_problem, encode_settings
        from espalier.solver.core.settings import ServerLimits, Settings

        settings = Settings(
            policy=policy,
            certainty=certainty,
            k=k,
            max_tokens=tokens,
            seconds=seconds,
            rounds=rounds,
            seed=seed,
            temperature=temperature,
            candidate_tokens=candidate_tokens,
            generated_tests=generated_tests,
            comparisons=comparisons or None,
            rejoins=rejoins,
            ways=names_of(ways) or None,
        )
        try:
            ServerLimits(max_k=MAX_CANDIDATES, seconds=float("inf"), candidate_tokens=1 << 31).plan(settings)
        except FieldError as error:
            option = {"max_tokens": "tokens"}.get(error.field, error.field).replace("_", "-")
            raise UsageError(f"--{option} {error.problem}") from None
        try:
            info = BatchInfo(webhook=webhook, priority=priority)
            if webhook:
                parse_webhook(webhook)
        except FieldError as error:
            raise UsageError(f"--{error.field} {error.problem}") from None
        lines = read_standard_input().split("\n") if problems == "-" else lines_of(Path(problems))
        read = read_problems(lines, problems)
        messages = [encode_problem(problem) for problem in read]

        async def run() -> pb.SubmitJobResponse:
            await validate_checks(read, problems)
            async with _asked(redis, queue, server, token_file, tls_ca) as jobs:
                return await jobs.submit(messages, encode_settings(settings), key, info=info)

        response = asyncio.run(run())
        batch = response.batch_id
        if as_json:
            told = {"batch": batch, "jobs": list(response.job_ids), "repeated": response.repeated_key}
            typer.echo(json.dumps(told))
            return
        say(key or batch)
        what = "were submitted before" if response.repeated_key else "are queued"
        typer.echo(f"{len(response.job_ids)} jobs {what}; espalier batch watch {key or batch}", err=True)


@app.command(epilog=_EPILOG)
def status(
    what: Annotated[
        str | None, typer.Argument(metavar="[BATCH|JOB]", help="Key or id of a batch, id of a job; none: the queue.")
    ] = None,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    server: ServerOption = None,
    token_file: TokenFile = None,
    tls_ca: Authority = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How the queue, a batch or a job stands.

    espalier batch status

    espalier batch status monday --json
    """
    with _errors(debug):
        from espalier.solver.batch.queue import JobQueue

        async def run() -> None:
            async with _asked(redis, queue, server, token_file, tls_ca) as jobs:
                if what is None:
                    if not isinstance(jobs, JobQueue):
                        raise UsageError("name a batch or a job; the whole queue is shown without --server, by --redis")
                    _show_queue(await jobs.depth(), await jobs.workers(), as_json)
                elif _is_job(what):
                    _show_job(await jobs.get(what), as_json)
                else:
                    await _show_batch(jobs, what, as_json)

        asyncio.run(run())


@app.command(epilog=_EPILOG)
def watch(
    batch: BatchArgument,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    server: ServerOption = None,
    token_file: TokenFile = None,
    tls_ca: Authority = None,
    debug: Debug = False,
) -> None:
    """Show the progress of a batch until all its jobs have ended. Leaving does not end them."""
    with _errors(debug):

        async def run() -> Batch:
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

            screen = Console(stderr=True)
            columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
            progress = Progress(*columns, TimeRemainingColumn(), console=screen, disable=not screen.is_terminal)
            async with _asked(redis, queue, server, token_file, tls_ca) as jobs:
                watched = jobs.watch_batch(batch)
                found = await anext(watched)
                with progress:
                    bar = progress.add_task(_counts(found), total=found.count, completed=found.ended)
                    async for found in watched:
                        progress.update(bar, description=_counts(found), completed=found.ended)
                        if progress.disable:
                            typer.echo(f"{found.ended} of {found.count}: {_counts(found)}", err=True)
            return found

        last = asyncio.run(run())
        typer.echo(_counts(last), err=True)
        raise typer.Exit(OK if _all_done(last) else NEGATIVE)


@app.command(epilog=_EPILOG)
def results(
    batch: BatchArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead.", dir_okay=False)
    ] = None,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    server: ServerOption = None,
    token_file: TokenFile = None,
    tls_ca: Authority = None,
    debug: Debug = False,
) -> None:
    """Results of a batch as JSON lines, in the order of its problems; one line for each job that has ended.

    A line has the problem's id, the job's status, and the result once it is done. Jobs without a result are named on
    standard error, and the exit status is 1 then.
    """
    with _errors(debug):

        async def run() -> list[str]:
            missing = []
            async with _asked(redis, queue, server, token_file, tls_ca) as jobs:
                found = await jobs.batch(batch)
                with _replaced(output) as write:
                    async for row in jobs.read(found):
                        if row.job is not None and row.response is not None and _has_ended(row.response.status):
                            write(json.dumps(_result(row.job, row.response), ensure_ascii=False))
                        if row.response is None or not row.response.HasField("result"):
                            missing.append(_missing(row))
                if missing:
                    missing.insert(0, f"{len(missing)} of {len(found.jobs)} jobs have no result: {_counts(found)}")
            return missing

        if missing := asyncio.run(run()):
            for line in missing[: SHOWN + 1]:
                say(line, err=True)
            if len(missing) > SHOWN + 1:
                typer.echo(f"  and {len(missing) - SHOWN - 1} more", err=True)
            raise typer.Exit(NEGATIVE)


@app.command(epilog=_EPILOG)
def cancel(
    what: BatchOrJob,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    server: ServerOption = None,
    token_file: TokenFile = None,
    tls_ca: Authority = None,
    debug: Debug = False,
) -> None:
    """End a job, or all jobs of a batch; those that have ended stay as they are."""
    with _errors(debug):

        async def run() -> str:
            async with _asked(redis, queue, server, token_file, tls_ca) as jobs:
                if _is_job(what):
                    ended = await jobs.cancel(what)
                    return f"job {what}: {_name(ended.state)}"
                gone = await jobs.cancel_batch(await jobs.batch(what))
                counts = _counts(await jobs.batch(what))
                return f"{counts}; {gone} are gone from the queue" if gone else counts

        typer.echo(asyncio.run(run()), err=True)


@app.command("retry-dead", epilog=_EPILOG)
def retry_dead(
    what: Annotated[
        str | None, typer.Argument(metavar="[BATCH|JOB]", help="Only this batch or job; none: all that are dead.")
    ] = None,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    debug: Debug = False,
) -> None:
    """Queue dead jobs again. Candidates that they have are kept."""
    with _errors(debug):

        async def run() -> int:
            async with _queue(redis, queue) as jobs:
                if what is None:
                    return await jobs.retry_dead()
                return await jobs.retry_dead([what] if _is_job(what) else (await jobs.batch(what)).jobs)

        typer.echo(f"{asyncio.run(run())} jobs are queued again", err=True)


@app.command("list", epilog=_EPILOG)
def list_batches(
    limit: Annotated[int, typer.Option(help="Batches at most.", min=1)] = 100,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    server: ServerOption = None,
    token_file: TokenFile = None,
    tls_ca: Authority = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """All batches with their states, the newest first; with --json one line each."""
    with _errors(debug):
        from espalier.solver.batch.queue import MAX_PAGE

        async def run() -> list[Batch]:
            listed: list[Batch] = []
            async with _asked(redis, queue, server, token_file, tls_ca) as jobs:
                token = ""
                while len(listed) < limit:
                    page, token = await jobs.batches(min(limit - len(listed), MAX_PAGE), token)
                    listed += page
                    if not token:
                        break
            return listed

        for batch in asyncio.run(run()):
            if as_json:
                typer.echo(json.dumps(_batch_to_json(batch)))
            else:
                submitted = datetime.fromtimestamp(batch.submitted).astimezone().isoformat(" ", "seconds")
                of = f" of {printable(batch.info.caller)}" if batch.info.caller else ""
                typer.echo(f"{submitted}  {printable(batch.key)}{of}: {_counts(batch)}")


@app.command(epilog=_EPILOG)
def repair(redis: RedisOption = REDIS, queue: QueueOption = QUEUE, debug: Debug = False) -> None:
    """Queue jobs again that Redis lost from the queue (evicted keys, a deleted stream), and count those that are gone.

    Workers may go on meanwhile. What Redis lost of a job's own record cannot be brought back: submit it again.
    """
    with _errors(debug):

        async def run() -> Repaired:
            async with _queue(redis, queue) as jobs:
                return await jobs.repair()

        repaired = asyncio.run(run())
        told = f"{repaired.queued} jobs are queued again, {repaired.dead} are among the dead again"
        typer.echo(f"{told}, {repaired.gone} are gone", err=True)
        raise typer.Exit(NEGATIVE if repaired.gone else OK)


@worker_app.command(epilog="Exit status: 0 drained after SIGTERM or SIGINT, 2 usage, 3 the engine is gone.")
def worker(
    engine: EngineOption = "local",
    model_instruction: Instruction = None,
    slots: Annotated[int, typer.Option(help="Jobs at a time.", min=1)] = 4,
    grace: Annotated[float, typer.Option(help="Seconds for running jobs after SIGTERM.", min=0.0)] = 30.0,
    policy: Annotated[str, typer.Option(help="Of jobs that name none.")] = "adaptive",
    certainty: Certainty = None,
    k: Annotated[int, typer.Option("--k", help="Candidates of a job that does not say.", min=1)] = 8,
    max_k: Annotated[int, typer.Option("--max-k", help="Candidates that a job may ask for.", min=1)] = 64,
    temperature: Temperatures = None,
    hint: Hints = None,
    max_tokens: MaxTokens = 4096,
    constrained: Constrained = None,
    seconds: Annotated[float, typer.Option(help="Longest time of a solve.", min=0.001)] = 300.0,
    lease: Annotated[
        float, typer.Option(help="A job whose worker is silent for so many seconds goes to another.", min=0.1)
    ] = 30.0,
    max_deliveries: Annotated[int, typer.Option(help="Deliveries after which a job is given up.", min=1)] = 5,
    keep: Annotated[int, typer.Option(help="Seconds that results are kept.", min=1)] = 7 * 24 * 3600,
    calibration: CalibrationFile = None,
    min_confidence: MinConfidence = 0.0,
    verifiers: Verifiers = None,
    only: OnlyVerifiers = None,
    verifiers_token_file: VerifiersTokenFile = None,
    verifiers_tls_ca: VerifiersAuthority = None,
    metrics: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Show Prometheus metrics there.")] = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a trace of each job there.", file_okay=False)
    ] = None,
    redis: RedisOption = REDIS,
    queue: QueueOption = QUEUE,
    allow_evicting: AllowEvicting = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    debug: Debug = False,
) -> None:
    """Solve the jobs of a queue until SIGTERM; then running jobs end, and what does not is handed back.

    espalier worker --redis redis://127.0.0.1:6379/0 --engine local --slots 4 --verifiers 127.0.0.1:50061
    """
    with _errors(debug):
        from structlog import get_logger

        from espalier.common.logging import configure_logging
        from espalier.common.metrics import metrics_server
        from espalier.common.security import require_free
        from espalier.runtime.defaults import DecodingOverrides
        from espalier.runtime.open import open_engine
        from espalier.solver.batch.config import QueueConfig
        from espalier.solver.batch.connection import check_eviction, connect, wait_out_outage
        from espalier.solver.batch.handler import SolveJobHandler
        from espalier.solver.batch.keys import Keys
        from espalier.solver.batch.queue import JobQueue
        from espalier.solver.batch.run import run_worker
        from espalier.solver.core.generation import generation_of
        from espalier.solver.core.loop import Solver
        from espalier.solver.core.prompts import instruction_files, templates_of
        from espalier.solver.core.settings import ServerLimits
        from espalier.solver.session.metrics import SolverMetrics
        from espalier.solver.session.session import SolveSession
        from espalier.solver.session.spans import export
        from espalier.verifiers.open import open_verifiers

        instructions = instruction_files(model_instruction)
        configure_logging("debug" if debug else log_level)
        export()
        limits = ServerLimits(
            policy=policy,
            policy_settings=diversity(temperature, hint),
            certainty=certainty,
            k=k,
            max_k=max_k,
            seconds=seconds,
            candidate_tokens=max_tokens,
        )
        config = QueueConfig(lease_seconds=lease, max_deliveries=max_deliveries, keep_seconds=keep)
        if traces is not None:
            traces.mkdir(parents=True, exist_ok=True)
        trusted = trust(calibration, min_confidence)
        judging = open_verifiers(verifiers, only, verifiers_token_file, verifiers_tls_ca)

        if metrics is not None:
            require_free(metrics)  # now, not when the model has been loaded

        async def run() -> None:
            async with AsyncExitStack() as stack:
                async with connect(redis, retries=0) as client:
                    await wait_out_outage(lambda: check_eviction(client, allowed=allow_evicting))
                    await wait_out_outage(JobQueue(client, Keys(queue)).check_format)
                opened = await stack.enter_async_context(open_engine(engine))
                await stack.enter_async_context(judging)
                counted = SolverMetrics()
                stack.enter_context(metrics_server(counted.registry, metrics))
                generation = generation_of(opened, DecodingOverrides(constrained))
                solver = Solver(opened, judging, templates_of(opened, instructions), generation, trusted)
                handler = SolveJobHandler(SolveSession(solver, limits, counted, traces=traces))
                await run_worker(
                    redis, handler, slots=slots, grace=grace, keys=Keys(queue), config=config, metrics=counted
                )

        asyncio.run(run())
        get_logger().info("stopped")


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """As everywhere, and what only a queue can say."""
    from espalier.solver.batch.connection import QueueUnavailableError
    from espalier.solver.batch.limits import OverLimitError
    from espalier.solver.batch.status import UnknownJobError

    with errors(debug):
        try:
            yield
        except UnknownJobError as error:
            raise UsageError(str(error)) from error
        except OverLimitError as error:
            say(f"espalier: {error}", err=True)
            raise typer.Exit(TROUBLE) from None
        except QueueUnavailableError as error:
            if debug:
                raise
            say(f"espalier: {error}; --redis or --server says where the queue is", err=True)
            raise typer.Exit(TROUBLE) from None
        except asyncio.CancelledError:
            raise typer.Exit(INTERRUPTED) from None


@asynccontextmanager
async def _queue(url: str, name: str) -> AsyncIterator[JobQueue]:
    from espalier.solver.batch.connection import connect
    from espalier.solver.batch.keys import Keys
    from espalier.solver.batch.queue import JobQueue

    async with connect(url) as client:
        jobs = JobQueue(client, Keys(name))
        await jobs.check_format()
        yield jobs


@asynccontextmanager
async def _asked(
    url: str, name: str, server: str | None, token_file: Path | None, tls_ca: Path | None
) -> AsyncIterator[JobQueue | RemoteQueue]:
    """The queue as its clients reach it: through a server, or in Redis."""
    if server is None:
        if token_file or tls_ca:
            raise UsageError("--token-file and --tls-ca are for a server; give --server, too")
        async with _queue(url, name) as jobs:
            yield jobs
        return
    from espalier.solver.batch.remote import remote_queue

    async with remote_queue(server, _client_security(token_file, tls_ca)) as remote:
        yield remote


def _client_security(token_file: Path | None, tls_ca: Path | None) -> ClientSecurity:
    from espalier.common.security import ClientSecurity, read_token

    return ClientSecurity(read_token(token_file) if token_file else None, tls_ca.read_bytes() if tls_ca else None)


@contextmanager
def _replaced(path: Path | None) -> Iterator[Any]:
    """Where to write lines: standard output, or a file that is there only once it is complete."""
    if path is None:
        yield say
        return
    with replacing(path) as file:
        yield lambda line: file.write(f"{line}\n")


def _is_job(text: str) -> bool:
    """Ids of jobs are those of batches, a dash and a number."""
    batch, dash, number = text.rpartition("-")
    return bool(dash) and number.isdecimal() and len(batch) == 20 and not set(batch) - set("0123456789abcdef")


def _state(name: str) -> int:
    from espalier.v1 import solver_pb2 as pb

    return pb.JobState.Value(f"JOB_STATE_{name.upper()}")


def _name(state: pb.JobState) -> str:
    return STATES[int(state) - 1]


def _counts(batch: Batch) -> str:
    counts = {**{name: batch.states[_state(name)] for name in STATES}, "gone": batch.gone}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _batch_to_json(batch: Batch) -> dict[str, Any]:
    counts = {name: batch.states[_state(name)] for name in STATES}
    times = {"submitted": batch.submitted, "finished": batch.finished}
    info = {"caller": batch.info.caller, "priority": batch.info.priority}
    return {"batch": batch.id, "key": batch.key, **info, "jobs": batch.count, **counts, "gone": batch.gone, **times}


def _all_done(batch: Batch) -> bool:
    return batch.states[_state("done")] == len(batch.jobs)


def _show_queue(depth: Depth, workers: Sequence[WorkerStatus], as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"depth": depth.total, "lag": depth.lag, "pending": depth.pending, "dead": depth.dead}
        typer.echo(json.dumps({**told, "workers": [asdict(worker) for worker in workers]}))
        return
    typer.echo(f"{depth.total} jobs to do: {depth.lag} wait, {depth.pending} run; {depth.dead} are dead")
    silent = sum(worker.silent for worker in workers)
    typer.echo(f"{len(workers) - silent} workers" + (f", and {silent} that are silent" if silent else ""))
    for worker in workers:
        if not worker.silent or worker.jobs:
            say(f"  {worker.name}: {worker.jobs} jobs{', silent' if worker.silent else ''}")


def _show_job(response: pb.GetJobResponse, as_json: bool) -> None:
    status = response.status
    if as_json:
        from espalier.solver.core.json_form import to_json

        typer.echo(json.dumps(to_json(response), ensure_ascii=False))
        return
    line = f"{status.id}: {_name(status.state)}, {status.attempts} deliveries, {status.candidates} candidates stored"
    say(f"{line}; {status.reason}" if status.reason else line)
    if response.HasField("result"):
        say(response.result.answer or "UNSOLVED")


async def _show_batch(jobs: JobQueue | RemoteQueue, name: str, as_json: bool) -> None:
    batch = await jobs.batch(name)
    if as_json:
        typer.echo(json.dumps(_batch_to_json(batch)))
        return
    typer.echo(f"{printable(name)}: {_counts(batch)}")
    if batch.states[_state("dead")]:
        statuses = [row.response.status async for row in jobs.read(batch) if row.response is not None]
        for status in [status for status in statuses if _name(status.state) == "dead"][:SHOWN]:
            say(f"  {status.id} is dead: {status.reason}")


def _has_ended(status: pb.JobStatus) -> bool:
    from espalier.solver.batch.status import ENDED

    return status.state in ENDED


def _missing(row: BatchRow) -> str:
    """Why a job of a batch has no result, in a line."""
    if row.job is None or row.response is None:
        return f"  {row.id} is gone from Redis"
    status = row.response.status
    reason = f": {status.reason}" if status.reason else ""
    return f"  {row.job.problem.id or row.id} ({row.id}) is {_name(status.state)}{reason}"


def _result(job: pb.Job, response: pb.GetJobResponse) -> dict[str, Any]:
    from espalier.solver.core.json_form import to_json

    told: dict[str, Any] = {"id": job.problem.id, "job": job.id, "state": _name(response.status.state)}
    if response.status.reason:
        told["reason"] = response.status.reason
    if response.HasField("result"):
        told["result"] = to_json(response.result)
    return told
