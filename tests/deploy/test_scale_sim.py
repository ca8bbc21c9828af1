"""The simulation behind docs/SCALING.md: its parts obey the laws of queues, and nothing is lost or made up."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from benchmarks.scale.measured import Measured
from benchmarks.scale.model import Clock, Engine, Line, ServerLimits, Simulation, with_failures

from espalier.solver.core.policies import Adaptive, BestOfK

EASY, HARD = [(100, 50, True)], [(100, 50, False)]
PARTS = Measured(
    machine="made up",
    steps={1: 0.01, 2: 0.02, 4: 0.02, 8: 0.04},
    problems=[EASY, EASY, HARD],
    math_seconds=[0.001, 0.002],
    program_seconds=[0.5],
    redis_seconds=0.0001,
    redis_candidate_seconds=0.0001,
    worker_seconds=0.001,
    start_seconds=5.0,
)


@pytest.mark.parametrize(
    ("branches", "seconds"), [(0.5, 0.01), (1, 0.01), (1.5, 0.015), (3, 0.02), (8, 0.04), (16, 0.08)]
)
def test_steps_are_read_between_and_beyond_the_measured_ones(branches: float, seconds: float) -> None:
    assert PARTS.step(branches) == pytest.approx(seconds)


def test_a_candidate_alone_takes_its_critical_path() -> None:
    clock, ends = Clock(), []
    engine = Engine(clock, PARTS.step)
    engine.decode(100, 50, lambda: ends.append(clock.now))
    clock.run(lambda: bool(ends))
    assert ends == [pytest.approx(50 * 0.02)]  # two branches wide


def test_candidates_share_the_batch_and_one_that_comes_later_ends_later() -> None:
    clock, ends = Clock(), []
    engine = Engine(clock, PARTS.step)
    engine.decode(100, 50, lambda: ends.append(("first", clock.now)))
    clock.after(0.5, lambda: engine.decode(200, 50, lambda: ends.append(("second", clock.now))))
    clock.run(lambda: len(ends) == 2)
    wide = PARTS.step(6)  # two branches and four
    first = 0.5 + 25 * wide  # half of it is left when the second one comes
    assert ends[0] == ("first", pytest.approx(first))
    assert ends[1] == ("second", pytest.approx(first + 25 * PARTS.step(4)))


def test_an_aborted_candidate_costs_what_it_had_and_frees_the_batch() -> None:
    clock, ends = Clock(), []
    engine = Engine(clock, PARTS.step)
    loser = engine.decode(100, 50, lambda: ends.append("loser"))
    engine.decode(100, 50, lambda: ends.append("winner"))
    had: list[float] = []
    clock.after(0.4, lambda: had.append(engine.abort(loser)))
    clock.run(lambda: bool(ends))
    assert ends == ["winner"]
    assert had == [pytest.approx(2 * 0.4 / PARTS.step(4))]


def test_a_line_serves_as_many_at_once_as_it_has_servers() -> None:
    clock, ends = Clock(), []
    line = Line(clock, 2)
    for _ in range(4):
        line.ask(1.0, lambda: ends.append(clock.now))
    clock.run(lambda: len(ends) == 4)
    assert ends == [1.0, 1.0, 2.0, 2.0]
    assert line.load() == pytest.approx(1.0)


def run(limits: ServerLimits, jobs: int = 300, seed: int = 1) -> Simulation:
    simulation = Simulation(limits, PARTS, seed)
    simulation.run(random.Random(seed).choices(PARTS.problems, k=jobs), 20.0)
    return simulation


def test_the_same_seed_gives_the_same_run() -> None:
    limits = with_failures(ServerLimits(Adaptive(), workers=5))
    assert run(limits).tally == run(limits).tally


@pytest.mark.parametrize(
    "limits",
    [
        ServerLimits(Adaptive(), workers=5),
        ServerLimits(Adaptive(), workers=40, programs=True, verifiers=1),
        ServerLimits(Adaptive(), workers=10, worker_hours=0.01, engine_hours=0.01, lease=3.0),
        ServerLimits(Adaptive(), workers=2, engine_hours=0.0003, max_deliveries=2),
    ],
    ids=["quiet", "verifiers behind", "failures", "given up"],
)
def test_every_token_has_one_fate(limits: ServerLimits) -> None:
    simulation = run(limits)
    tally = simulation.tally
    fates = tally.accepted + tally.failed + tally.aborted + tally.lost
    assert fates == pytest.approx(sum(worker.tokens for worker in simulation.workers), rel=1e-6)
    assert fates <= 100 * tally.candidates * (1 + 1e-9)
    assert tally.done + tally.dead == 300


def test_what_was_generated_is_not_generated_again_when_its_worker_dies_before_the_verdict() -> None:
    slow = replace(PARTS, problems=[HARD], program_seconds=[50.0])
    limits = ServerLimits(BestOfK(), k=1, workers=1, slots=1, programs=True, verifiers=1)
    simulation = Simulation(limits, slow, 1)
    simulation.clock.after(10.0, lambda: simulation.workers[0]._die(simulation.workers[0].engine))
    tally = simulation.run([HARD])
    assert (tally.redelivered, tally.candidates, tally.lost) == (1, 1, 0)
    assert tally.accepted == 100


def test_adaptive_spends_less_than_best_of_k() -> None:
    adaptive, best = (run(ServerLimits(policy, workers=20)).tally for policy in (Adaptive(), BestOfK()))
    assert adaptive.candidates < best.candidates


def test_workers_that_die_lose_what_was_generated_and_no_job() -> None:
    limits = ServerLimits(Adaptive(), workers=10, worker_hours=0.01, engine_hours=0.01, lease=3.0)
    tally = run(limits).tally
    assert tally.done + tally.dead == 300
    assert tally.redelivered > 0
    assert tally.lost > 0


def test_a_job_that_is_delivered_too_often_is_given_up() -> None:
    limits = ServerLimits(Adaptive(), workers=2, engine_hours=0.0003, max_deliveries=2)
    assert run(limits, jobs=50).tally.dead > 0


def test_the_part_that_is_too_small_is_the_one_that_is_full() -> None:
    few = run(replace(ServerLimits(Adaptive(), workers=40), programs=True, verifiers=1))
    assert few.verifiers.load() > 0.95
    assert few.redis.load() < 0.1
