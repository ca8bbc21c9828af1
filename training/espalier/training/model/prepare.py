"""From a pretrained model to one that can learn to reason in parallel: eight tags, an instruction text, and a check.

What is written is an ordinary model directory: `transformers`, SGLang and the embedded engine load it as it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken, Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import EngineError, Event, Finished, GenerateRequest, Limits, Mode, Rollout, SamplingParams
from espalier.runtime.grammar import EIGHT_TAGS, TagError, Vocabulary
from espalier.runtime.local.engine import LocalConfig, LocalEngine
from espalier.runtime.local.model import require_supported
from espalier.runtime.prompt import PromptTemplate
from espalier.training.run.metrics import Tell

INSTRUCTION = files("espalier.training.model").joinpath("instruction.txt").read_text(encoding="utf-8").strip()
"""The instruction text of a prepared model unless another one is given."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The chat template of a model that comes without one."""

CHECKED_TOKENS = 32
MAX_LOGPROB_DIFF = 1e-2
"""Between the embedded engine and `transformers`, both in float32, at any of the checked tokens."""

SAME_TABLE = 0.2
"""Relative difference up to which two tables are one, quantised twice (Q4_K_M of Qwen2.5-Coder-0.5B: 0.044)."""

_FILLER = re.compile(r"\[PAD\d+\]|<unused\d+>|\[unused\d+\]|<\|?dummy_?\d+\|?>")
"""Names that converters give to rows of the embedding that no text is encoded to."""


class PrepareError(ValueError):
    """The model cannot be prepared; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was made.

    Attributes:
        out: The model directory.
        tags: Token ids of the eight tags.
        unused_rows: Whether the tags took rows of the embedding that were unused; otherwise rows were appended.
        parameters: Number of weights.
        max_logprob_diff: Largest difference between engine and `transformers` that the check found.
    """

    out: Path
    tags: tuple[int, ...]
    unused_rows: bool
    parameters: int
    max_logprob_diff: float


def prepare(source: str, out: Path, template: PromptTemplate | None = None, tell: Tell = lambda text: None) -> Prepared:
    """Write a model directory with the eight tags, an instruction text and the arguments of the chat template.

    Args:
        source: A name on the Hugging Face hub, a model directory, or a GGUF file.
        out: Folder to write; it must not hold a model yet.
        template: Instruction text and arguments of the chat template; None: the usual ones.
        tell: Says what is being done.

    Raises:
        PrepareError: The source cannot be read or is not supported, `out` is in use, or the check fails.
        EngineError: The source is of an architecture that is not served; the message names what it has.
    """
    if (out / "config.json").exists():
        raise PrepareError(f"--out {out} holds a model already; give another folder")
    tell(f"loading {source}")
    model, tokenizer = load(source)
    unused = add_tags(model, tokenizer)
    return write(model, tokenizer, out, template, tell, unused)


def apply(adapters: Sequence[Path], base: str, out: Path, tell: Tell = lambda text: None) -> Prepared:
    """Prepare a base model and merge adapters (as `peft` stores them) into it, one after the other.

    After each the weights are rounded to bfloat16, as the stage that trained the next one found them. Instruction text,
    arguments of the chat template and limits of decoding are those beside the last adapter.

    Raises:
        PrepareError: As :func:`prepare`; or the adapter does not fit the base.
        EngineError: As :func:`prepare`.
    """
    from peft import PeftModel

    for adapter in adapters:
        if not (adapter / "adapter_config.json").is_file():
            raise PrepareError(f"{adapter} holds no adapter: adapter_config.json is missing")
    if (out / "config.json").exists():
        raise PrepareError(f"--out {out} holds a model already; give another folder")
    found, decoding = PromptTemplate.load(adapters[-1]), DecodingDefaults.stored(adapters[-1])
    tell(f"loading {base}")
    model, tokenizer = load(base)
    unused = add_tags(model, tokenizer)
    for adapter in adapters:
        tell(f"merging {adapter}")
        try:
            model = PeftModel.from_pretrained(model.float(), str(adapter)).merge_and_unload().to(torch.bfloat16)
        except (RuntimeError, ValueError, OSError, SafetensorError) as error:
            raise PrepareError(f"{adapter} does not fit {base}: {_first_line(error)}") from error
    made = write(model, tokenizer, out, None if found == PromptTemplate() else found, tell, unused)
    if decoding is not None:
        decoding.save(out)
    return made


def load(source: str) -> tuple[Any, Any]:
    """Model (bfloat16) and tokenizer of a hub name, a directory or a GGUF file.

    Raises:
        PrepareError: They cannot be read.
        EngineError: The architecture is not served.
    """
    path = Path(source).expanduser()
    gguf = path.suffix == ".gguf"
    if gguf and not path.is_file():
        raise PrepareError(f"no file {source}")
    if source.startswith((".", "/", "~")) and not gguf and not (path / "config.json").is_file():
        raise PrepareError(f"no model in {source}: config.json is missing")
    place = str(path.parent) if gguf else str(path) if path.is_dir() else source
    options = {"gguf_file": path.name} if gguf else {}
    try:
        config = AutoConfig.from_pretrained(place, **options)
        require_supported(config, source)
        if not gguf and getattr(config, "quantization_config", None):
            raise PrepareError(f"{source} holds quantised weights; begin from the original ones, or from a GGUF file")
        model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16, **options)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        if gguf:  # dequantised while it was read; `transformers` would not store it otherwise
            model.hf_quantizer = None
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            tie(model)
    except ImportError as error:
        raise PrepareError(f"{source}: {_first_line(error)} (pip install 'espalier-npr[train]')") from error
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise PrepareError(f"{source} cannot be loaded: {_first_line(error)}") from error
    except ValueError as error:
        if isinstance(error, PrepareError | EngineError):
            raise
        raise PrepareError(f"{source} cannot be loaded: {_first_line(error)}") from error
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise EngineError(f"{source} adds a bias to its logits; only heads without one are served")
    if not getattr(tokenizer, "is_fast", False):
        raise PrepareError(f"{source} has no fast tokenizer; tags and bytes cannot be kept apart without one")
    return model, tokenizer


def tie(model: Any) -> None:
    """Tie head and embedding again where a converter has stored one table twice, quantised in two ways.

    The head's copy is kept: converters give it more bits.
    """
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if table.weight is head.weight or table.weight.shape != head.weight.shape:
        return
    sample = slice(None, None, max(1, table.weight.shape[0] // 1000))
    one, other = table.weight[sample].float(), head.weight[sample].float()
    if float((one - other).norm() / other.norm()) < SAME_TABLE:
        table.weight = head.weight
        model.config.tie_word_embeddings = True
        model.tie_weights()


def add_tags(model: Any, tokenizer: Any) -> bool:
    """Make the eight tags single special tokens, in place, and start their rows.

    A tag's row is the mean of the rows of the tokens that the tag was split into before, so an opening and its closing
    begin apart. Where the head is not tied to the embedding, its rows are started the same way.

    Returns:
        Whether unused rows of the embedding were enough; otherwise rows were appended.
    """
    known = tokenizer.get_added_vocab()
    missing = [tag.value for tag in EIGHT_TAGS if tag.value not in known]
    if not missing:
        return True
    pieces = {tag: tokenizer.encode(tag, add_special_tokens=False) for tag in missing}
    _strip_fillers(tokenizer)
    tokenizer.add_tokens([AddedToken(tag, special=True, normalized=False) for tag in missing], special_tokens=True)
    rows = model.get_input_embeddings().weight.shape[0]
    ids = {tag: int(tokenizer.convert_tokens_to_ids(tag)) for tag in missing}
    fits = bool(max(ids.values()) < rows)
    if not fits:
        model.resize_token_embeddings(max(ids.values()) + 1, mean_resizing=False)
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings().weight
    if head is not tables[0]:
        tables.append(head)
    with torch.no_grad():
        for table in tables:
            for tag, split in pieces.items():
                table[ids[tag]] = table[split].float().mean(dim=0).to(table.dtype)
    return fits


def _strip_fillers(tokenizer: Any) -> None:
    """Take the names of unused rows off the end of the vocabulary, so that the tags get their ids."""
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = stored["model"].get("vocab")
    if not isinstance(vocabulary, dict):
        return
    highest = sorted(vocabulary, key=lambda name: -vocabulary[name])
    fillers = []
    for name in highest:
        if not _FILLER.fullmatch(name):
            break
        fillers.append(name)
    added = {entry["content"] for entry in stored.get("added_tokens", [])}
    if len(fillers) < len(EIGHT_TAGS) or added & set(fillers):
        return
    for name in fillers:
        del vocabulary[name]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(stored))


def write(
    model: Any, tokenizer: Any, out: Path, template: PromptTemplate | None, tell: Tell, unused_rows: bool
) -> Prepared:
    """Write a model with tags into a directory, and check what was written.

    Raises:
        PrepareError: The check fails, or `out` cannot be written.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHATML
        tell("the model has no chat template: ChatML is written")
    ends = _ends_of_turn(model, tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.eos_token_id = ends[0]
    model.config.pad_token_id = tokenizer.pad_token_id
    # Sampling defaults of the source are left out: every request says how it samples.
    stops: Any = GenerationConfig
    model.generation_config = stops(eos_token_id=list(ends), pad_token_id=tokenizer.pad_token_id)
    chosen = template or PromptTemplate(INSTRUCTION, _quick(tokenizer))
    tell(f"writing {out}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        model.to(torch.bfloat16).save_pretrained(out)
        tokenizer.save_pretrained(out, save_jinja_files=False)
        chosen.save(out)
    except OSError as error:
        raise PrepareError(f"--out {out}: {error.strerror or error}") from error
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tell("checking it against transformers")
    vocabulary, difference = check(out)
    tags = tuple(vocabulary.id_of(tag) for tag in EIGHT_TAGS)
    return Prepared(out, tags, unused_rows, parameters, difference)


def _ends_of_turn(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The id with which the chat template ends a turn of the model, then the others that the model stops at.

    Raises:
        PrepareError: There is none.
    """
    said = "5"
    turns = [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": said}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    behind = tokenizer.encode(text[text.rindex(said) + len(said) :], add_special_tokens=False)
    special = set(tokenizer.all_special_ids)
    closing = [token for token in behind if token in special][:1]
    named = model.generation_config.eos_token_id if model.generation_config else None
    ids = [*closing, tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    ends = tuple(dict.fromkeys(int(one) for one in ids if one is not None))
    if not ends:
        raise PrepareError("the tokenizer has no end-of-sequence token, and its chat template ends a turn with none")
    return ends


def _quick(tokenizer: Any) -> dict[str, Any]:
    """Models that think before they answer are asked not to: the tags are where the thinking goes."""
    return {"enable_thinking": False} if "enable_thinking" in (tokenizer.chat_template or "") else {}


def check(folder: Path) -> tuple[Vocabulary, float]:
    """Whether a model directory does what the stages of training rely on.

    The tags must be single tokens that survive a round trip through the files, and the embedded engine must give the
    tokens that it samples the log-probabilities that `transformers` gives them in one causal forward pass.

    Returns:
        The grammar's ids, and the largest difference of a log-probability.

    Raises:
        PrepareError: Something differs; the message says what.
    """
    import asyncio

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    generation = GenerationConfig.from_pretrained(folder)
    try:
        vocabulary = Vocabulary.of(tokenizer, end_of_turn=generation.eos_token_id)
    except TagError as error:
        raise PrepareError(f"{folder}: {error}") from error
    tagged = "".join(f"{tag.value} 12\n" for tag in EIGHT_TAGS)
    if (back := tokenizer.decode(tokenizer.encode(tagged, add_special_tokens=False))) != tagged:
        raise PrepareError(f"{folder}: the tokenizer does not give back what it was given: {back!r}, not {tagged!r}")
    prompt = PromptTemplate.load(folder).encode(tokenizer, "What is 12 + 34?")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    own = model.config._attn_implementation
    rollout = asyncio.run(_response(model, tokenizer, prompt))
    model.set_attn_implementation(own)
    ids = torch.tensor([[*rollout.prompt, *rollout.tokens]])
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    expected = logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])[:, 0]
    difference = float((expected - torch.tensor(rollout.logprobs)).abs().max())
    if not math.isfinite(difference) or difference > MAX_LOGPROB_DIFF:
        raise PrepareError(
            f"{folder}: the engine's log-probabilities differ from those of transformers by up to {difference:.3g}; "
            f"the architecture {model.config.model_type} computes something that the engine leaves out"
        )
    return vocabulary, difference


async def _response(model: Any, tokenizer: Any, prompt: Sequence[int]) -> Rollout:
    """What the embedded engine samples from the model behind a prompt."""
    request = GenerateRequest(
        "check",
        tuple(prompt),
        SamplingParams(seed=0),
        limits=Limits(max_tokens=CHECKED_TOKENS),
        mode=Mode.SEQUENTIAL,
        final_event_only=True,
    )
    config = LocalConfig(device="cpu", kv_tokens=len(prompt) + 2 * CHECKED_TOKENS)
    async with LocalEngine.serve(model, tokenizer, config) as engine:
        events: AsyncIterator[Event] = engine.generate(request)
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                if isinstance(event, Finished):
                    return event.rollout
    raise PrepareError("the engine ended the check without its last event")


def with_instruction(template: PromptTemplate | None, instruction: Path | None) -> PromptTemplate | None:
    """A template whose instruction text is that of a file.

    Raises:
        ValueError: The file cannot be read or does not hold `{question}` once.
    """
    if instruction is None:
        return template
    try:
        read = PromptTemplate.load(instruction)
    except OSError as error:
        raise ValueError(f"--instruction {instruction}: {error.strerror}") from None
    return replace(template or PromptTemplate(), instruction=read.instruction)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
