"""Best of k beside its_hub and optillm: accuracy and tokens on the same recorded samples, or all on a live server.

    environment=$(scripts/peers.sh)
    espalier data convert gsm8k_test.jsonl --kind gsm8k --limit 400 --out gsm8k.jsonl
    espalier data sample gsm8k.jsonl --engine openai://HOST:PORT/v1?model=NAME --instruction \\
        benchmarks/data/boxed.txt --k 16 --max-tokens 512 --responses words.jsonl
    $environment/bin/python benchmarks/best_of_k_peers.py gsm8k.jsonl --replay words.jsonl --k 8 16 --out replayed.jsonl
    $environment/bin/python benchmarks/best_of_k_peers.py gsm8k.jsonl --server http://HOST:PORT/v1 --model NAME \\
        --n 20 --k 4 --max-tokens 512 --out live.jsonl

Each tool gets the same problems in the same words and the same limits, through a server that counts what it asks for
(`metered_server.py`; there is also what a replay is, and what it hides). With `--replay` plain samples are the recorded
ones, the same for all tools; what else a tool asks its model goes to `--server`, and a tool that does is left out
where there is none: optillm's best of n has the model rate its responses, one after the other. Ways:

- samples: k plain responses. Three lines come of them: one alone, the majority (classes by this project's
  equivalence; the mean of classes with equal votes), and whether at least one is right, which no choice can exceed.
- its_hub: votes on the text in the last box; of equals one at random, drawn anew with the same seed in every run.
- optillm: its functions, called as its proxy calls them, without the proxy. They send an empty system message, which
  a chat template may take for another prompt than none. Its self-consistency votes on likeness of whole responses.
- espalier: votes by equivalence; `with check` is told the reference, as a verifier of one's own would know it.
  `adaptive` stops a vote at a certainty of 0.95; at 0.85 two equal answers suffice, as they do to its_hub.

This project's verifier decides for all alike whether the response that a tool hands back is right. A line of `--out`
is one problem and one tool, appended as soon as it is known: a run that was interrupted goes on with the same command.
`--report` prints the table of what there is, and asks nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from metered_server import MeteredServer, Recording, base_url, caller_of
from openai import AsyncOpenAI, OpenAI
from stored_rows import stored

from espalier.common.errors import first_cause
from espalier.runtime.engine import Limits, SamplingParams
from espalier.runtime.openai.engine import OpenAIConfig, OpenAIEngine
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.generation import Generation
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, Policy
from espalier.solver.core.problem import Problem, read_problem_file
from espalier.solver.core.prompts import Templates
from espalier.solver.core.responses import Sampling
from espalier.verifiers.answer import boxes
from espalier.verifiers.check import Claim
from espalier.verifiers.local import LocalVerifiers, load

INSTRUCTION = Path(__file__).parent / "data" / "boxed.txt"
SAMPLES = "samples"
RATED = "optillm, bon"
"""Asks its model for more than samples."""

Way = Callable[[Problem], Awaitable[list[str]]]
"""From a problem to the response that a tool hands back; of samples, all."""


@dataclass(frozen=True, slots=True)
class Run:
    """What all ways are told alike."""

    model: str
    template: PromptTemplate
    k: int
    sampling: Sampling
    judge: LocalVerifiers
    threads: ThreadPoolExecutor

    def prompt(self, problem: Problem) -> str:
        return self.template.instruction.replace("{question}", problem.text)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file: one problem, asked by one way.

    Attributes:
        way: Its name.
        k: Of best of k.
        problem: The problem's id.
        answers: The response that the tool handed back; of samples, all.
        samples: Responses that it drew.
        new_tokens: Of all that the model wrote for it.
        prompt_tokens: Of all requests.
        seconds: Wall clock.
        load: Of the machine, when it had ended.
    """

    way: str
    k: int
    problem: str
    answers: list[str]
    samples: int
    new_tokens: int
    prompt_tokens: int
    seconds: float
    load: float


# Ways: each is opened with a base URL.

Opening = Callable[[str, Run], AbstractAsyncContextManager[Way]]


@asynccontextmanager
async def samples(url: str, run: Run) -> AsyncIterator[Way]:
    async with AsyncOpenAI(base_url=url, api_key="none") as client:

        async def draw(problem: Problem) -> str:
            reply = await client.chat.completions.create(
                model=run.model,
                messages=[{"role": "user", "content": run.prompt(problem)}],
                temperature=run.sampling.temperature,
                max_tokens=run.sampling.max_tokens,
            )
            return reply.choices[0].message.content or ""

        async def several(problem: Problem) -> list[str]:
            return await asyncio.gather(*(draw(problem) for _ in range(run.k)))

        yield several


def espalier(policy: type[Policy], *, checked: bool, **settings: Any) -> Opening:
    @asynccontextmanager
    async def opened(url: str, run: Run) -> AsyncIterator[Way]:
        generation = Generation(
            SamplingParams(temperature=run.sampling.temperature), limits=Limits(max_tokens=run.sampling.max_tokens)
        )
        async with OpenAIEngine(url, OpenAIConfig(model=run.model, concurrent=256)) as engine:
            solver = Solver(engine, run.judge, Templates(run.template), generation)
            chosen = policy(temperatures=(run.sampling.temperature,), **settings)

            async def solve(problem: Problem) -> list[str]:
                asked = problem if checked else replace(problem, check=None)
                result = await solver.solve(asked, chosen, Budget(candidates=run.k))
                index = result.selection.candidate
                return [one.candidate.text for one in result.judged if one.candidate.spec.index == index] or [""]

            yield solve

    return opened


def last_box(response: str) -> str:
    found = boxes(response)
    return found[-1].strip() if found else ""


def its_hub(name: str) -> Opening:
    @asynccontextmanager
    async def opened(url: str, run: Run) -> AsyncIterator[Way]:
        from its_hub.core.algorithms.adaptive_self_consistency import AdaptiveSelfConsistency
        from its_hub.core.algorithms.self_consistency import SelfConsistency
        from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel

        kind = {"self-consistency": SelfConsistency, "adaptive": AdaptiveSelfConsistency}[name]
        algorithm = kind(consistency_space_projection_func=last_box)
        async with OpenAICompatibleLanguageModel(
            endpoint=url,
            api_key="none",
            model_name=run.model,
            max_completion_tokens=run.sampling.max_tokens,
            temperature=run.sampling.temperature,
        ) as model:

            async def solve(problem: Problem) -> list[str]:
                random.seed(f"{run.k}/{problem.id}")
                found = await algorithm.ainfer(model, run.prompt(problem), run.k)
                return [str(found.get("content") or "")]

            yield solve

    return opened


def optillm(call: Callable[[OpenAI, Run, str], str]) -> Opening:
    @asynccontextmanager
    async def opened(url: str, run: Run) -> AsyncIterator[Way]:
        _without_proxy("optillm")
        with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=3600) as client:

            async def solve(problem: Problem) -> list[str]:  # its functions block, so each call has a thread
                loop = asyncio.get_running_loop()
                return [await loop.run_in_executor(run.threads, call, client, run, run.prompt(problem))]

            yield solve

    return opened


def best_of_n(client: OpenAI, run: Run, prompt: str) -> str:
    from optillm.bon import best_of_n_sampling

    limits = {"max_tokens": run.sampling.max_tokens}
    return str(best_of_n_sampling("", prompt, client, run.model, run.k, limits)[0])


def likest(client: OpenAI, run: Run, prompt: str) -> str:
    from optillm.self_consistency import AdvancedSelfConsistency

    limits = {"max_tokens": run.sampling.max_tokens}
    found = AdvancedSelfConsistency(client, run.model, run.k, request_config=limits).evaluate("", prompt)
    clusters = found["aggregated_result"]["clusters"]
    return str(clusters[0]["answer"]) if clusters else ""


def _without_proxy(name: str) -> None:
    """Make a package's modules importable without its `__init__`, which starts a proxy's many needs."""
    if name in sys.modules:
        return
    found = importlib.util.find_spec(name)
    assert found is not None and found.submodule_search_locations is not None
    package = ModuleType(name)
    package.__path__, package.__spec__ = list(found.submodule_search_locations), found
    sys.modules[name] = package


WAYS: Mapping[str, Opening] = {
    SAMPLES: samples,
    "its_hub, self-consistency": its_hub("self-consistency"),
    "its_hub, adaptive self-consistency": its_hub("adaptive"),
    RATED: optillm(best_of_n),
    "optillm, self-consistency": optillm(likest),
    "espalier, best_of_k by votes": espalier(BestOfK, checked=False),
    "espalier, adaptive by votes": espalier(Adaptive, checked=False),
    "espalier, adaptive by votes, certainty 0.85": espalier(Adaptive, checked=False, certainty=0.85),
    "espalier, best_of_k with check": espalier(BestOfK, checked=True),
    "espalier, adaptive with check": espalier(Adaptive, checked=True),
}


def chosen(arguments: argparse.Namespace) -> dict[str, Opening]:
    """The ways that are asked for and can be; says which are left out."""
    found = {}
    for name, opening in WAYS.items():
        tool = name.partition(",")[0]
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        if tool not in (SAMPLES, "espalier") and not importlib.util.find_spec(tool):
            print(f"{name}: {tool} is not installed; scripts/peers.sh makes an environment that has it")
        elif name == RATED and not arguments.server:
            print(f"{name}: has the model rate its responses, which cannot be replayed; give --server, too")
        else:
            found[name] = opening
    return found


# Measuring.


def setting(arguments: argparse.Namespace, sampling: Sampling) -> dict[str, Any]:
    """What all rows of a file have in common."""
    return {
        "source": f"replay of {arguments.replay.name}" if arguments.replay else arguments.server,
        "model": sampling.model,
        "problems": arguments.problems.name,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "tools": {name: version(name) for name in ("its_hub", "optillm") if importlib.util.find_spec(name)},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def begin(file: Path, asked: dict[str, Any]) -> list[Row]:
    """The rows of a file; a new one gets its first line.

    Raises:
        SystemExit: Its rows were measured otherwise.
    """
    first, *rows = stored(file) or [None]
    if first is None:
        file.write_text(json.dumps({"setting": asked}) + "\n", encoding="utf-8")
        return []
    differs = [
        f"{name} {first['setting'].get(name)!r}, not {value!r}"
        for name, value in asked.items()
        if first["setting"].get(name) != value
    ]
    if differs:
        sys.exit(f"{file} was measured with {'; '.join(differs)}: give another --out")
    return [Row(**row) for row in rows]


async def ask(arguments: argparse.Namespace, problems: Sequence[Problem]) -> None:
    """Ask all ways, problem by problem, for what the file lacks. The way that comes first takes turns."""
    template = PromptTemplate.load(arguments.instruction)
    recording = Recording.load(arguments.replay) if arguments.replay else None
    sampling = Sampling(arguments.model, 0, arguments.temperature, arguments.max_tokens)
    if recording is not None:
        sampling = recording.sampling
    model = arguments.model or sampling.model
    known = {(row.way, row.k, row.problem) for row in begin(arguments.out, setting(arguments, sampling))}
    prompts = {template.instruction.replace("{question}", problem.text): problem.id for problem in problems}
    server = MeteredServer(model, prompts, recording=recording, upstream=arguments.server)
    threads = ThreadPoolExecutor(arguments.at_once)
    free = asyncio.Semaphore(arguments.at_once)
    async with AsyncExitStack() as stack:
        judge = await stack.enter_async_context(LocalVerifiers(load(["math"])))
        address = await stack.enter_async_context(server.serving())
        ways: list[tuple[str, int, Way]] = []
        for k in arguments.k:
            run = Run(model, template, k, sampling, judge, threads)
            for name, opening in chosen(arguments).items():
                url = base_url(address, f"{name} {k}")
                ways.append((name, k, await stack.enter_async_context(opening(url, run))))

        async def one(number: int, problem: Problem) -> None:
            async with free:
                turn = number % len(ways)
                for name, k, way in (*ways[turn:], *ways[:turn]):
                    if (name, k, problem.id) in known:
                        continue
                    begun = time.perf_counter()
                    try:
                        answers = await way(problem)
                    except Exception as error:
                        error.add_note(f"asked by {name}, k = {k}, for {problem.id}")
                        raise
                    seconds = time.perf_counter() - begun
                    spent = server.spent[caller_of(f"{name} {k}"), problem.id]
                    row = Row(name, k, problem.id, answers, **asdict(spent), seconds=seconds, load=os.getloadavg()[0])
                    with arguments.out.open("a", encoding="utf-8") as out:
                        out.write(json.dumps(asdict(row)) + "\n")
                print(f"{problem.id}: asked by all", file=sys.stderr)

        try:
            async with asyncio.TaskGroup() as group:
                for number, problem in enumerate(problems):
                    group.create_task(one(number, problem))
        except BaseExceptionGroup as several:
            raise first_cause(several) from None


# Reporting.


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: how right an answer is by problem, and what it cost, as means."""

    name: str
    right: Mapping[str, float]
    samples: float
    new_tokens: float
    prompt_tokens: float
    seconds: float


async def lines(rows: Sequence[Row], problems: Sequence[Problem], judge: LocalVerifiers) -> list[Line]:
    """The lines of the ways of one k."""
    by_id = {problem.id: problem for problem in problems}
    verdicts: dict[tuple[str, str], asyncio.Task[bool]] = {}

    async def judged(name: str, response: str) -> bool:
        problem = by_id[name]
        assert problem.check is not None
        return (await judge.verify(Claim(response, problem=problem.text), problem.check, timeout=60)).passed

    async def right(row: Row) -> list[bool]:
        for response in row.answers:
            if (key := (row.problem, response)) not in verdicts:
                verdicts[key] = asyncio.create_task(judged(*key))
        return [await verdicts[row.problem, response] for response in row.answers]

    async def majority(row: Row) -> float:
        votes = [vote.found for vote in await judge.classes([Claim(response) for response in row.answers])]
        most = max((len(found.members) for found in votes), default=0)
        leading = [found.members[0] for found in votes if len(found.members) == most]
        verdict = await right(row)
        return statistics.fmean(verdict[member] for member in leading) if leading else 0.0

    found = []
    for name in WAYS:
        own = [row for row in rows if row.way == name and row.problem in by_id]
        if not own:
            continue
        verdict = {row.problem: await right(row) for row in own}
        cost = [
            statistics.fmean(values)
            for values in zip(*((r.samples, r.new_tokens, r.prompt_tokens, r.seconds) for r in own), strict=True)
        ]
        if name != SAMPLES:
            found.append(Line(name, {problem: float(one[0]) for problem, one in verdict.items()}, *cost))
            continue
        k = own[0].k
        alone = {problem: statistics.fmean(several) for problem, several in verdict.items()}
        found.append(Line("one sample", alone, *(value / k for value in cost)))
        found.append(Line(f"majority of {k}", {row.problem: await majority(row) for row in own}, *cost))
        some = {problem: float(any(several)) for problem, several in verdict.items()}
        found.append(Line(f"at least one of {k} is right", some, *cost))
    return found


def table(found: Sequence[Line], k: int, *, clock: bool) -> Iterator[str]:
    """A table in Markdown. Gains over the majority are paired, problem by problem; errors are standard errors."""
    base = next((line.right for line in found if line.name.startswith("majority")), {})
    header = [f"k = {k}", "problems", "right, %", "less the majority", "samples", "new tokens", "prompt tokens"]
    yield "| " + " | ".join(header + ["seconds"] * clock) + " |"
    yield "|---|" + "---:|" * (len(header) - 1 + clock)
    for line in found:
        shared = [100 * (value - base[problem]) for problem, value in line.right.items() if problem in base]
        own = line.right is base or len(shared) < 2
        cells = [
            line.name,
            f"{len(line.right)}",
            _with_error([100 * value for value in line.right.values()], ".1f"),
            "" if own else _with_error(shared, "+.1f"),
            f"{line.samples:.1f}",
            f"{line.new_tokens:,.0f}",
            f"{line.prompt_tokens:,.0f}",
        ]
        yield "| " + " | ".join(cells + [f"{line.seconds:.1f}"] * clock) + " |"


def _with_error(values: Sequence[float], form: str) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):{form}} ± {error:.1f}"


async def report(file: Path, problems: Sequence[Problem]) -> None:
    """Judge what the file holds and print it."""
    if not (held := stored(file)):
        sys.exit(f"{file} holds nothing yet")
    setting, rows = held[0]["setting"], [Row(**row) for row in held[1:]]
    live = not setting["source"].startswith("replay")
    print("; ".join(f"{name}: {value}" for name, value in setting.items()))
    if not live:
        print("Replayed samples: tools differ in what they choose and when they stop; the wall clock says nothing.")
    elif rows:
        print(f"load of the machine: {min(row.load for row in rows):.1f} to {max(row.load for row in rows):.1f}")
    async with LocalVerifiers(load(["math"])) as judge:
        for k in sorted({row.k for row in rows}):
            print()
            found = await lines([row for row in rows if row.k == k], problems, judge)
            print(*table(found, k, clock=live), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path, help="file of problems with checks (`espalier data convert`)")
    parser.add_argument("--replay", type=Path, help="file of responses (`espalier data sample`) to draw samples from")
    parser.add_argument("--server", help="base URL of a live server, like http://127.0.0.1:8080/v1")
    parser.add_argument("--model", default="", help="its name on the server; with --replay not needed")
    parser.add_argument("--instruction", type=Path, default=INSTRUCTION, help="file; the one that was sampled with")
    parser.add_argument("--n", type=int, help="at most so many problems, the first ones")
    parser.add_argument("--k", type=int, nargs="+", default=[8])
    parser.add_argument("--max-tokens", type=int, default=512, help="of a response; with --replay that of the file")
    parser.add_argument("--temperature", type=float, default=1.0, help="optillm's is 1; with --replay that of the file")
    parser.add_argument(
        "--at-once", type=int, default=1, help="problems on their way; 1: seconds are those of one alone"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="ways whose names hold one of these")
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"), help="what it holds is not asked again")
    parser.add_argument("--report", action="store_true", help="ask nobody; print what --out holds")
    arguments = parser.parse_args()
    problems = read_problem_file(arguments.problems, checked=True)[: arguments.n]
    if not arguments.report:
        if not (arguments.replay or arguments.server):
            parser.error("give --replay FILE, --server URL, or both")
        if not (arguments.replay or arguments.model):
            parser.error("--server: name the model, too, with --model")
        try:
            asyncio.run(ask(arguments, problems))
        except KeyboardInterrupt:
            print(f"\nInterrupted; the same command goes on. {arguments.out} holds what is known.", file=sys.stderr)
            sys.exit(130)
    asyncio.run(report(arguments.out, problems))


if __name__ == "__main__":
    main()
