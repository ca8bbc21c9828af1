from __future__ import annotations

from recipes.seedling.encoding import encode
from recipes.seedling.stream import Codec
from recipes.seedling.traces import Demonstration, TraceBlock, TraceBranch

TRACE = Demonstration(
    (
        TraceBlock(
            (TraceBranch(" left", " 1+1=2", "2"), TraceBranch(" right", " 1+1=3", "3", trained=False)), "1 gives 2"
        ),
    ),
    "The answer is \\boxed{2}.",
)


def test_exactly_the_sampled_tokens_are_trained(codec: Codec) -> None:
    """Everything but prompt, forced openings and the corrupted step, read back as text."""
    example = encode("What is 1+1?", TRACE, codec.tokenizer, codec.vocabulary)
    decode = codec.tokenizer.decode
    kept = decode(example.tokens[example.trained].tolist(), skip_special_tokens=False)
    assert kept == (
        "<guideline>\n<plan>1: left</plan>\n<plan>2: right</plan>\n</guideline>"
        " 1+1=2</step>"
        "1 gives 2</takeaway>\nThe answer is \\boxed{2}.<|im_end|>"
    )


def test_the_response_is_linearised_as_the_engine_writes_it(codec: Codec) -> None:
    example = encode("What is 1+1?", TRACE, codec.tokenizer, codec.vocabulary)
    text = codec.tokenizer.decode(example.tokens.tolist(), skip_special_tokens=False)
    assert text == (
        "<|im_start|>user\nWhat is 1+1?<|im_end|>\n<|im_start|>assistant\n"
        "<guideline>\n<plan>1: left</plan>\n<plan>2: right</plan>\n</guideline>"
        "\n<step>\n1: 1+1=2</step>\n<step>\n2: 1+1=3</step><takeaway>\n1 gives 2</takeaway>\n"
        "The answer is \\boxed{2}.<|im_end|>"
    )


def test_a_trained_token_follows_a_token_of_its_own_branch(codec: Codec) -> None:
    """So that predicting it from its predecessor in the row is predicting it from its predecessor in the branch."""
    example = encode("What is 1+1?", TRACE, codec.tokenizer, codec.vocabulary)
    for at in example.trained.nonzero()[0]:
        assert example.layout.branch[at] == example.layout.branch[at - 1]
