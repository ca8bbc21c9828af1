"""The seedling's tokenizer: byte-level BPE with single digits and single newlines.

Pre-tokenisation never joins a newline, a digit or a punctuation mark with what stands around it, so that the openings
an engine forces (`\\n<step>\\n1:`) are the same tokens as in the training text, and arithmetic is done digit by digit.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from espalier.runtime.grammar import EIGHT_TAGS

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL = (PAD, START, END, *(tag.value for tag in EIGHT_TAGS))

PATTERN = r"[\r\n]|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]| +|\s"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{{{{ '{START}' + message['role'] + '\\n' + message['content'] + '{END}\\n' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{START}assistant\\n' }}}}{{% endif %}}"
)


def prompt_text(question: str) -> str:
    """The prompt as the chat template writes it."""
    return f"{START}user\n{question}{END}\n{START}assistant\n"


def train(texts: Iterable[str], vocabulary_size: int, context: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer.

    Args:
        texts: Problem texts and responses; the special tokens in them are kept whole.
        vocabulary_size: Number of tokens, specials and the 256 bytes included.
        context: The model's context length, stored with the tokenizer.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.add_special_tokens(list(SPECIAL))
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=None,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[token for token in SPECIAL if token not in (END, PAD)],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
