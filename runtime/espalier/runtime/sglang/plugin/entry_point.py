"""The plugin's entry point, which SGLang calls in every process of a server.

SGLang only logs a plugin that fails. A server would then take requests for native parallel reasoning and answer them
without, so whatever is wrong, the refusal is registered; it needs nothing of SGLang but the registry.
"""

from __future__ import annotations

import os

from espalier.runtime.sglang.plugin import compat
from espalier.runtime.sglang.plugin.preconditions import Preconditions
from espalier.runtime.sglang.plugin.prefill_turns import PrefillTurns


def register() -> None:
    """Hook SGLang; nothing but the refusal where this SGLang is not one that the plugin knows."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    installed = compat.installed()
    problems = list(compat.disagreements(installed))
    turns = PrefillTurns(0)
    try:
        turns = PrefillTurns.of(os.environ)
    except ValueError as error:
        problems.append(str(error))
    preconditions = Preconditions(os.environ, problems)
    HookRegistry.register(compat.VERIFY, preconditions.verify, HookType.AFTER)
    HookRegistry.register(compat.TOKENIZER, preconditions.tokenizer_ready, HookType.AFTER)
    if preconditions.problems:
        return
    from espalier.runtime.sglang.plugin.hooks import Hooks
    from espalier.runtime.sglang.plugin.tree_attention.backend import tree_attention

    attention = tree_attention(os.environ, compat.disagreements(installed, compat.ATTENTION_SIGNATURES))
    Hooks(preconditions, installed, attention, turns).register(HookRegistry, HookType)
