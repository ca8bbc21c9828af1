"""torch, GPU, the engine and SGLang."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from espalier.common.distribution import install
from espalier.solver.doctor.finding import Finding, note, ok, problem

TOKENS = 16
"""Decoded to see that the engine works."""

SELF_CHECK = """
import json
from espalier.runtime.sglang.plugin.compat import ATTENTION_SIGNATURES, disagreements, installed
print(json.dumps([list(disagreements(installed())), list(disagreements(installed(), ATTENTION_SIGNATURES))]))
"""
"""In a process of its own: importing SGLang takes long, and may end badly."""


def torch() -> Finding:
    """torch can be imported."""
    try:
        import torch as found
    except (ImportError, OSError) as error:
        return problem(f"torch cannot be imported: {error}", "pip install --force-reinstall torch")
    return ok(f"torch {found.__version__}, {found.get_num_threads()} threads")


def gpu() -> Finding:
    """There is a GPU that torch can use."""
    import torch as found

    if found.cuda.is_available():
        cards = [found.cuda.get_device_properties(number) for number in range(found.cuda.device_count())]
        return ok(", ".join(f"{card.name} ({card.total_memory / 2**30:.0f} GiB)" for card in cards))
    why = "" if found.version.cuda else " (this torch is built for CPUs)"
    return note(
        f"none that torch can use{why}",
        "the bundled model does without; a 4B model needs one: install NVIDIA's driver and torch for CUDA",
    )


def engine(setting: str) -> Finding:
    """The engine is there and decodes."""
    try:
        tokens, seconds, model = asyncio.run(_decode(setting))
    except Exception as error:  # whatever it is, it is why the engine does not work
        advice = "see espalier solve --help for --engine"
        if setting == "local":
            advice = "reinstall espalier: the bundled model cannot be loaded"
        return problem(f"{setting}: {type(error).__name__}: {error}", advice)
    return ok(f"{setting} decoded {tokens} tokens in {seconds:.1f} s ({model})")


async def _decode(setting: str) -> tuple[int, float, str]:
    """New tokens, seconds for them, and the model with the limits that it was trained with."""
    from espalier.runtime.engine import Finished, FinishReason
    from espalier.runtime.open import decoding_defaults_of, open_engine, template_of
    from espalier.solver.core.candidate import Spec
    from espalier.solver.core.generation import generation_of

    async with open_engine(setting) as opened:
        prompt = template_of(opened, None).encode(opened.tokenizer, "What is 1 + 1?")
        spec = Spec(0, 0, seed=0, temperature=1.0)
        request = generation_of(opened, max_tokens=TOKENS).request("doctor", prompt, spec, opened.info)
        decoding = asdict(decoding_defaults_of(opened)) if opened.info.parallel else {}
        model = ", ".join([opened.info.model, *(f"{name} {value}" for name, value in decoding.items())])
        begun = time.perf_counter()
        async with aclosing(opened.generate(request)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Finished):
                    if event.reason is FinishReason.ERROR:
                        raise RuntimeError(event.detail or "the engine failed and did not say why")
                    return event.usage.new_tokens, time.perf_counter() - begun, model
    raise RuntimeError("the engine ended its answer without saying so")


def sglang(seconds: float) -> Finding:
    """SGLang is installed, and the plugin fits it.

    Args:
        seconds: Longest time of the plugin's self-check.
    """
    try:
        found = version("sglang")
    except PackageNotFoundError:
        return note("not installed", f"only needed where models are served on GPUs: {install('sglang')}")
    command = [sys.executable, "-c", SELF_CHECK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return note(
            f"SGLang {found}: the plugin's self-check took more than {seconds:.0f} s", "--seconds gives it more"
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return problem(f"SGLang {found} cannot be imported: {last}", f"install it again: {install('sglang')}")
    faults, attention = json.loads(done.stdout.splitlines()[-1])
    if faults:
        return problem(f"the plugin does not fit SGLang {found}: {faults[0]}", install("sglang"))
    if attention:
        return note(f"SGLang {found}: prefixes are read row by row: {attention[0]}", "decoding is right, but slower")
    return ok(f"SGLang {found}, and the plugin fits it")
