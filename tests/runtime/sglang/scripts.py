"""Scripted structure inside SGLang: tags stand where a script puts them, every other token is the model's own choice.

A script rides in `custom_params["script"]`; a hook before sampling, for tests only, bends the logits.
"""

from __future__ import annotations

import json
from typing import Any

from espalier.runtime.grammar import Tag, Vocabulary
from espalier.runtime.layout import Path
from espalier.runtime.sglang.protocol import format_path
from tests.runtime.scripted import Script


def places(script: Script, vocabulary: Vocabulary) -> dict[str, dict[str, int]]:
    """Per branch: index within its own part of the row -> scripted token. Steps inside it count in full."""
    fork = vocabulary.id_of(Tag.END_GUIDELINE)
    found: dict[str, dict[str, int]] = {}

    def lay(path: Path, opening: int) -> int:
        at, blocks = opening, 0
        own: dict[str, int] = {}
        for item in script[path]:
            if item is not None:
                own[str(at)] = item
            at += 1
            if item == fork:
                number = 1
                while (*path, (blocks, number)) in script:
                    at += lay((*path, (blocks, number)), len(vocabulary.step_opening(number)))
                    number += 1
                at += len(vocabulary.takeaway_opening())
                blocks += 1
        found[format_path(path)] = own
        return at

    lay((), 0)
    return found


def length(script: Script, vocabulary: Vocabulary) -> int:
    """Tokens of the response that follows the script."""
    fork = vocabulary.id_of(Tag.END_GUIDELINE)
    joins = sum(items.count(fork) for items in script.values())
    openings = sum(len(vocabulary.step_opening(path[-1][1])) for path in script if path)
    return sum(map(len, script.values())) + openings + joins * len(vocabulary.takeaway_opening())


def scripted_params(script: Script, vocabulary: Vocabulary) -> dict[str, Any]:
    return {"script": json.dumps(places(script, vocabulary)), "banned": list(vocabulary.tags)}


def follow_scripts() -> None:
    """Register the hooks. Call before the engine starts."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    HookRegistry.register("sglang.srt.model_executor.forward_batch_info.ForwardBatch.init_new", _note, HookType.AFTER)
    HookRegistry.register("sglang.srt.model_executor.model_runner.ModelRunner.sample", _bend, HookType.AROUND)


def _note(forward: Any, _cls: Any, batch: Any, *_args: Any, **_kwargs: Any) -> None:
    reqs = getattr(batch, "reqs", None)
    if reqs and not forward.forward_mode.is_idle():
        forward.scripted = [_wish(req, n) for req, n in zip(reqs, batch.seq_lens_cpu.tolist(), strict=True)]


def _wish(request: Any, row: int) -> tuple[int | None, list[int]] | None:
    """(scripted token or None for a free one, banned tokens); None for requests without a script."""
    state = getattr(request, "espalier_state", None)
    if state is None:
        return None
    params = state.tree.root.request.sampling_params.custom_params
    if params is None or "script" not in params:
        return None
    if state.tree.id not in _SCRIPTS:
        _SCRIPTS[state.tree.id] = json.loads(params["script"])
    script = _SCRIPTS[state.tree.id]
    return script[format_path(state.branch.path)].get(str(row - state.start)), params["banned"]


_SCRIPTS: dict[str, dict[str, dict[str, int]]] = {}


def _bend(sample: Any, runner: Any, logits: Any, forward: Any) -> Any:
    for row, wish in enumerate(getattr(forward, "scripted", ())):
        if wish is None:
            continue
        token, banned = wish
        scores = logits.next_token_logits[row]
        if token is None:
            scores[banned] = float("-inf")
        else:
            kept = scores[token].clone()
            scores.fill_(float("-inf"))
            scores[token] = kept
    return sample(runner, logits, forward)
