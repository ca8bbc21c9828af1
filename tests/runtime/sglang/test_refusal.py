"""Where the plugin cannot be exact it says so and stays out of the way."""

from __future__ import annotations

import sys

import pytest
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.sampling.sampling_params import SamplingParams
from sglang.srt.server_args import ServerArgs

from espalier.runtime.sglang.plugin.preconditions import Preconditions, obstacles
from espalier.runtime.sglang.protocol import OptionError
from tests.runtime.sglang.requests import IDS, cases
from tests.runtime.sglang.server import SETTINGS, Server

pytestmark = pytest.mark.xdist_group("refusal")  # its tests compare with one stock answer


def refusal_of(engine):
    """What is said to a request with native parallel reasoning."""
    try:
        engine.generate(input_ids=[40, 41], sampling_params={"custom_params": {"npr": True}})
    except ValueError as error:
        return str(error)
    return ""


def plain_and_parallel(engine):
    """A stock answer, and what is said to a request with native parallel reasoning."""
    stock = engine.generate(input_ids=[40, 41], sampling_params={"temperature": 0, "max_new_tokens": 5})
    return list(stock["output_ids"]), refusal_of(engine)


@pytest.fixture(scope="module")
def stock(model):
    tokens, _ = Server(model, {}, {"SGLANG_PLUGINS": "none"}).run(plain_and_parallel)
    return tokens


def test_mixed_chunks_would_not_be_exact_and_are_refused(model, stock):
    flags = {"enable_mixed_chunk": True, "chunked_prefill_size": 16}
    tokens, refusal = Server(model, flags, IDS).run(plain_and_parallel)
    assert tokens == stock
    assert "--enable-mixed-chunk" in refusal


def test_pages_of_several_tokens_are_refused(model):
    """Only the refusal: SGLang's own paged allocator runs on a GPU."""
    assert "--page-size above 1" in Server(model, {"page_size": 16}, IDS).run(refusal_of)


def test_a_server_that_does_not_know_the_tags_refuses(model, stock):
    tokens, refusal = Server(model).run(plain_and_parallel)
    assert tokens == stock
    assert "ESPALIER_NPR_TAGS" in refusal


def test_an_end_of_turn_that_is_text_cannot_be_forbidden():
    params = SamplingParams(custom_params={"npr": {"constrained": True}}, ignore_eos=True)
    with pytest.raises(OptionError, match=r"npr.constrained and ignore_eos do not go together"):
        Preconditions({}, ()).verify(None, params)


def change_a_signature() -> None:
    from sglang.srt.managers.schedule_batch import ScheduleBatch

    original = ScheduleBatch.check_decode_mem

    def check_decode_mem(self, selected_indices=None, patience=0):
        return original(self, selected_indices)

    ScheduleBatch.check_decode_mem = check_decode_mem


def test_another_sglang_than_the_known_one_is_refused_and_serves_as_stock(model, stock):
    tokens, refusal = Server(model, {}, IDS, change_a_signature).run(plain_and_parallel)
    assert tokens == stock
    assert "check_decode_mem takes (self, selected_indices, patience), expected (self, selected_indices)" in refusal


def claim_another_version() -> None:
    from espalier.runtime.sglang.plugin import compat

    compat.installed = lambda: "0.6.0"
    sys.modules["espalier.runtime.sglang.plugin.hooks"] = None  # what it imports need not be there in another version


def test_an_unknown_version_is_refused_and_serves_as_stock(model, stock):
    tokens, refusal = Server(model, {}, IDS, claim_another_version).run(plain_and_parallel)
    assert tokens == stock
    assert "SGLang 0.6.0 is not among the supported versions 0.5.17 to 0.5.21" in refusal


def test_a_server_does_not_start_with_a_default_that_it_cannot_follow(model):
    with pytest.raises(
        AssertionError, match=r"default of this server, but environment variable ESPALIER_NPR: npr.max_plan "
    ):
        Server(model, {}, IDS | {"ESPALIER_NPR": '{"max_plan": 3}'}).run(refusal_of)


@pytest.fixture(scope="module")
def described(model):
    """Settings of a server and its model, as SGLang reads them."""
    settings = ServerArgs(**{**SETTINGS, "model_path": str(model)})
    return settings, ModelConfig.from_server_args(settings)


def test_a_plain_server_has_no_obstacles(described):
    assert obstacles(*described) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("enable_two_batch_overlap", True, "--enable-two-batch-overlap"),
        ("enable_pdmux", True, "--enable-pdmux"),
        ("speculative_algorithm", "EAGLE", "speculative decoding"),
        ("disaggregation_mode", "decode", "disaggregation"),
        ("pp_size", 2, "pipeline parallelism"),
        ("attn_cp_size", 2, "context parallelism"),
        ("dcp_size", 2, "context parallelism"),
        ("enable_dp_attention", True, "data-parallel attention"),
        ("enable_hierarchical_cache", True, "hierarchical cache"),
        ("enable_lmcache", True, "LMCache"),
        ("enable_hisparse", True, "sparse attention"),
        ("enable_lora", True, "LoRA"),
        ("dllm_algorithm", "LowConfidence", "diffusion"),
        ("is_hybrid_swa", True, "sliding windows"),
        ("model_is_mrope", True, "positions in several dimensions"),
    ],
)
def test_what_would_not_be_exact_is_named(described, name, value, said):
    changed = [Changed(each, {name: value}) for each in described]
    assert any(hasattr(each, name) for each in described)
    assert any(said in obstacle for obstacle in obstacles(*changed))


class Changed:
    """An object with other values for some of its attributes."""

    def __init__(self, original, values):
        self.__dict__.update(values)
        self._original = original

    def __getattr__(self, name):
        return getattr(self._original, name)


def test_a_default_switches_it_on_for_requests_that_do_not_say(model):
    def job(engine):
        asked = [{}, {"custom_params": {"npr": False}}]
        params = [{"temperature": 0, "max_new_tokens": 4, **more} for more in asked]
        return engine.generate(input_ids=[case.prompt for case in cases(60, 2)], sampling_params=params)

    on, off = Server(model, {}, IDS | {"ESPALIER_NPR": '{"preset": "reference"}'}).run(job)
    assert on["meta_info"]["npr"][0]["reason"]
    assert "npr" not in off["meta_info"]
