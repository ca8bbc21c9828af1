"""What the fuzzer of hostile programs calls a finding is an effect outside of the sandbox, whatever a program says."""

from __future__ import annotations

import random
import subprocess
import sys

from fuzz_hostile import canaries, mutant


def test_a_program_that_is_not_confined_has_every_effect() -> None:
    with canaries() as outside:
        ran = subprocess.run([sys.executable, "-c", outside.probe()], capture_output=True, text=True, check=True)
        assert outside.effects(ran.stdout + ran.stderr) == [
            "a file of the host was read",
            "a file of the host was written",
            "the host was reached: network",
            "the host was reached: abstract socket",
            "the host was reached: socket in a directory",
            "a process of the host was ended",
        ]


def test_a_program_that_only_says_so_has_none() -> None:
    with canaries() as outside:
        assert outside.effects("BREACH ['/root']") == []


def test_mutants_of_a_seed_are_the_same_and_can_be_read() -> None:
    programs = ["import os\nif os.getuid() == 0:\n    print('BREACH')\n", "for n in range(3):\n    print(n)\n"]
    first, second = ([mutant(programs, random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 10
    for source in first:
        compile(source, "mutant", "exec")
