"""Who may fork: what a server and a request have to be like. Loads nothing of SGLang before it is used."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from espalier.runtime.grammar import TagError, Vocabulary
from espalier.runtime.sglang.plugin.vocabulary import server_vocabulary
from espalier.runtime.sglang.protocol import KEY, OptionError, Options, default_switch, parse_switch

logger = logging.getLogger(__name__)


def obstacles(server_args: Any, model_config: Any) -> list[str]:
    """Settings of a server, and kinds of models, with which native parallel reasoning would not be exact."""
    from sglang.srt.configs.hybrid_arch import mambaish_config

    refused = {
        "runs with --page-size above 1": (server_args.page_size or 1) > 1,
        "runs with --enable-mixed-chunk": server_args.enable_mixed_chunk,
        "runs with --enable-two-batch-overlap": server_args.enable_two_batch_overlap,
        "runs with --enable-pdmux": server_args.enable_pdmux,
        "runs with speculative decoding": server_args.speculative_algorithm is not None,
        "runs with prefill/decode disaggregation": server_args.disaggregation_mode not in (None, "null"),
        "runs with pipeline parallelism": server_args.pp_size > 1,
        "runs with context parallelism": server_args.attn_cp_size > 1 or server_args.dcp_size > 1,
        "runs with data-parallel attention": server_args.enable_dp_attention,
        "runs with the hierarchical cache": server_args.enable_hierarchical_cache,
        "runs with LMCache": server_args.enable_lmcache,
        "runs with hierarchical sparse attention": server_args.enable_hisparse,
        "runs with LoRA": bool(server_args.enable_lora),
        "has a diffusion language model": server_args.dllm_algorithm is not None,
        "has a model with recurrent layers": mambaish_config(model_config) is not None,
        "has a model with sliding windows": model_config.is_hybrid_swa,
        "has a model with positions in several dimensions": model_config.model_is_mrope,
    }
    return [
        f"this server {what}, which native parallel reasoning does not support" for what in refused if refused[what]
    ]


class Preconditions:
    """Lets requests with native parallel reasoning in, or says why not, in one process of a server.

    Attributes:
        default: What holds for requests that do not say.
        problems: Why this process cannot serve native parallel reasoning; empty if it can.
    """

    def __init__(self, environment: Mapping[str, str], problems: Iterable[str]) -> None:
        """
        Args:
            environment: Of the server.
            problems: What is known to be in the way already.
        """
        self.problems = list(problems)
        self._environment = environment
        try:
            self.default = default_switch(environment)
        except OptionError as error:
            self.problems.append(str(error))
            self.default = Options()  # something was asked for: the server must not start without it
        for problem in self.problems:
            logger.error("native parallel reasoning is off: %s", problem)

    def check(self, server_args: Any, tokenizer: Any, model_config: Any) -> Vocabulary | None:
        """The ids of the grammar, or None where something is in the way.

        Raises:
            RuntimeError: Something is, and native parallel reasoning is the default of this server.
        """
        found = obstacles(server_args, model_config)
        vocabulary = None
        try:
            vocabulary = server_vocabulary(tokenizer, model_config.hf_eos_token_id or (), self._environment)
        except TagError as error:
            found.append(str(error))
        for problem in found:
            logger.warning("native parallel reasoning is off: %s", problem)
        self.problems += found
        self._require_dispensable()
        return None if self.problems else vocabulary

    def _require_dispensable(self) -> None:
        if self.problems and self.default is not None:
            raise RuntimeError(
                f"native parallel reasoning is the default of this server, but {'; '.join(self.problems)}"
            )

    def tokenizer_ready(self, _result: None, manager: Any, *_args: Any, **_kwargs: Any) -> None:
        """After the process that takes requests has set itself up."""
        if self.problems:  # it may be any SGLang: look at nothing
            self._require_dispensable()
        else:
            self.check(manager.server_args, manager.tokenizer, manager.model_config)

    def verify(self, _result: None, params: Any, *_args: Any, **_kwargs: Any) -> None:
        """Refuse a request that cannot be served; SGLang answers with status 400 and the message."""
        asked = params.custom_params if isinstance(params.custom_params, dict) else {}
        options = parse_switch(asked[KEY]) if KEY in asked else self.default
        if options is None:
            return
        if self.problems:
            raise OptionError(f"npr cannot be served: {'; '.join(self.problems)}")
        for name in ("json_schema", "regex", "ebnf", "structural_tag"):
            if getattr(params, name) is not None:
                raise OptionError(f"npr and {name} do not go together")
        if options.constrained and params.ignore_eos:
            raise OptionError("npr.constrained and ignore_eos do not go together")
        if getattr(params, "beam_width", None) is not None:
            raise OptionError("npr and beam_width do not go together")
