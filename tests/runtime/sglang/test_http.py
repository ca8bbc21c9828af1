"""The plugin behind SGLang's own HTTP endpoints: streaming and not, token ids and text."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from espalier.runtime.engine import BranchClosed, BranchOpened, Joined, Tokens
from espalier.runtime.sglang.protocol import event_from_json
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Shape
from tests.runtime.sglang.requests import CHECKED, IDS, cases, check
from tests.runtime.sglang.scripts import follow_scripts
from tests.runtime.sglang.server import Server

pytestmark = pytest.mark.xdist_group("http")  # its servers serve many of its tests
SHAPE = Shape(blocks=(1, 2), plans=(2, 4), text=(1, 5), nesting=0.3)
WORDS = "".join(chr(0x4E00 + token) for token in range(64))


@pytest.fixture(scope="module", params=[False, True], ids=["whole chunks", "incremental chunks"])
def incremental(request):
    return request.param


@pytest.fixture(scope="module")
def tokens(model, incremental):
    """A server that knows ids only."""
    flags = {"incremental_streaming_output": incremental}
    with Server(model, flags, IDS | CHECKED, follow_scripts).serve() as address:
        yield address


@pytest.fixture(scope="module")
def text(model):
    """A server with a tokenizer, from which the ids of the tags come; it counts, sorts its queue and streams rarely."""
    flags = {"enable_metrics": True, "schedule_policy": "lpm", "stream_interval": 4}
    with Server(model, {"skip_tokenizer_init": False, **flags}, CHECKED, follow_scripts).serve() as address:
        yield address


def body(case, **more):
    return {"input_ids": case.prompt, "sampling_params": case.params(**more), "return_logprob": True}


def chunks(address, path, request):
    with requests.post(address + path, json=request | {"stream": True}, stream=True, timeout=200) as response:
        assert response.status_code == 200, response.text
        for line in response.iter_lines():
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                yield json.loads(line[6:])


def test_generate_answers_with_ids_and_metadata(tokens):
    module = tiny_qwen3(0)
    for case in cases(20, 3, SHAPE):
        response = requests.post(tokens + "/generate", json=body(case), timeout=200)
        assert response.status_code == 200, response.text
        assert check(module, case, response.json()) > 0


def test_the_stream_grows_and_ends_with_the_same_answer(tokens, incremental):
    module = tiny_qwen3(0)
    for case in cases(21, 3, SHAPE):
        output, lists = [], {}
        for chunk in chunks(tokens, "/generate", body(case)):
            new, meta = chunk["output_ids"], chunk["meta_info"]
            keys = ("npr_positions", "npr_paths", "npr_forced", "output_token_logprobs")
            if incremental:
                output += new
                for key in keys:
                    lists[key] = lists.get(key, []) + meta[key]
            else:
                assert new[: len(output)] == output
                output, lists = new, {key: meta[key] for key in keys}
        assert check(module, case, {"output_ids": output, "meta_info": {**meta, **lists}}) > 0


def test_live_events_hold_every_token_once_and_in_order(tokens, incremental):
    for case in cases(22, 4, SHAPE):
        events, output, before_the_join = [], [], 0
        for chunk in chunks(tokens, "/generate", body(case, npr={"events": True})):
            records = chunk["meta_info"]["npr_events"]
            fresh = records if incremental else records[len(events) :]
            events += [event_from_json("r", record) for record in fresh]
            output = output + chunk["output_ids"] if incremental else chunk["output_ids"]
            known = sum(len(event.tokens) for event in events if isinstance(event, Tokens))
            before_the_join += known > len(output)
            meta = chunk["meta_info"]
        assert before_the_join  # tokens of open branches arrive while the linear output rests
        branches: dict = {}
        for event in events:
            if isinstance(event, Tokens):
                branches.setdefault(event.path, []).extend(zip(event.tokens, event.positions, strict=True))
        opened = [event.path for event in events if isinstance(event, BranchOpened)]
        closed = [event.path for event in events if isinstance(event, BranchClosed)]
        assert sorted(opened) == sorted(closed) == sorted(path for path in branches if path)
        (summary,) = meta["npr"]
        assert sum(isinstance(event, Joined) for event in events) == summary["joins"]
        assert sum(map(len, branches.values())) == len(output)
        assert sorted(token for branch in branches.values() for token, *_ in branch) == sorted(output)
        assert {path: len(branch) for path, branch in branches.items() if path} == {
            tuple(tuple(map(int, turn.split("."))) for turn in path.split("/")): count
            for path, count in summary["branch_tokens"]
        }


def test_a_text_server_decodes_the_linear_output(text):
    for case in cases(23, 2, SHAPE):
        prompt = "".join(WORDS[token] for token in case.prompt)
        request = {"text": prompt, "sampling_params": case.params(skip_special_tokens=False), "return_logprob": True}
        answer = requests.post(text + "/generate", json=request, timeout=200).json()
        assert check(tiny_qwen3(0), case, answer) > 0
        assert answer["text"].count("<step>") == answer["text"].count("</step>") == len(case.script) - 1
        streamed = list(chunks(text, "/generate", request))
        assert streamed[-1]["text"] == answer["text"]


def test_chat_completions_take_the_same_switch(text):
    case = cases(24, 1, SHAPE)[0]
    prompt = "".join(WORDS[token] for token in case.prompt)
    params = case.params(skip_special_tokens=False)
    request = {
        "model": "tiny",
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": params["max_new_tokens"],
        "custom_params": params["custom_params"],
        "skip_special_tokens": False,
    }
    response = requests.post(text + "/v1/chat/completions", json=request, timeout=200)
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    content = choice["message"]["content"]
    assert content.count("<step>") == content.count("</step>") == len(case.script) - 1
    pieces = [
        chunk["choices"][0]["delta"].get("content") or ""
        for chunk in chunks(text, "/v1/chat/completions", request)
        if chunk["choices"]
    ]
    assert "".join(pieces) == content


@pytest.mark.parametrize("words", [True, False], ids=["text", "token ids"])
def test_completions_take_the_same_switch(text, words):
    case = cases(25, 1, SHAPE)[0]
    params = case.params()
    request = {
        "model": "tiny",
        "prompt": "".join(WORDS[token] for token in case.prompt) if words else case.prompt,
        "temperature": 0,
        "max_tokens": params["max_new_tokens"],
        "custom_params": params["custom_params"],
        "skip_special_tokens": False,
        "n": 2,
    }
    response = requests.post(text + "/v1/completions", json=request, timeout=200)
    assert response.status_code == 200, response.text
    for choice in response.json()["choices"]:
        assert choice["text"].count("<step>") == choice["text"].count("</step>") == len(case.script) - 1


def test_requests_at_once_are_exact_in_any_order_of_the_queue(text):
    module, crowd = tiny_qwen3(0), cases(26, 16, SHAPE)
    with ThreadPoolExecutor(len(crowd)) as pool:
        answers = list(pool.map(lambda case: requests.post(text + "/generate", json=body(case), timeout=200), crowd))
    for case, answer in zip(crowd, answers, strict=True):
        assert answer.status_code == 200, answer.text
        check(module, case, answer.json())


def test_several_samples_of_one_request_are_trees_of_their_own(text):
    case = cases(27, 1, SHAPE)[0]
    response = requests.post(text + "/generate", json=body(case, n=3), timeout=200)
    assert response.status_code == 200, response.text
    assert len(response.json()) == 3
    for answer in response.json():
        check(tiny_qwen3(0), case, answer)


def test_all_kinds_of_log_probabilities_have_an_entry_per_token(text):
    case = cases(28, 1, SHAPE)[0]
    asked = {"top_logprobs_num": 3, "token_ids_logprob": [40, 41], "logprob_start_len": 0}
    answer = requests.post(text + "/generate", json=body(case) | asked, timeout=200).json()
    check(tiny_qwen3(0), case, answer)
    meta, count = answer["meta_info"], len(answer["output_ids"])
    assert len(meta["input_token_logprobs"]) == len(case.prompt)
    assert len(meta["output_top_logprobs"]) == len(meta["output_token_ids_logprobs"]) == count
    for (best, token, _), alternatives, forced in zip(
        meta["output_token_logprobs"], meta["output_top_logprobs"], meta["npr_forced"], strict=True
    ):
        if not forced:
            assert token == alternatives[0][1]
            assert best == pytest.approx(alternatives[0][0], abs=1e-5)


def test_a_stop_string_ends_a_response_outside_of_blocks_only(text):
    case = cases(29, 1, Shape(blocks=(1, 1), plans=(1, 1), text=(9, 9), nesting=0))[0]
    whole = requests.post(text + "/generate", json=body(case), timeout=200).json()
    meta, output = whole["meta_info"], whole["output_ids"]
    marks = zip(output, meta["npr_paths"], meta["npr_forced"], strict=True)
    inside = {token for token, path, forced in marks if path and not forced and token >= 30}
    outside = [
        token if not path and token >= 30 else None for token, path in zip(output, meta["npr_paths"], strict=True)
    ]
    only_inside = next(token for token in sorted(inside) if token not in outside)
    unaware = requests.post(text + "/generate", json=body(case, stop=[WORDS[only_inside]]), timeout=200).json()
    assert unaware["output_ids"] == output
    stop = next(token for token in reversed(outside) if token is not None)
    stopped = requests.post(text + "/generate", json=body(case, stop=[WORDS[stop]]), timeout=200).json()
    assert stopped["output_ids"] == output[: outside.index(stop) + 1]
    assert stopped["meta_info"]["finish_reason"] == {"type": "stop", "matched": WORDS[stop]}


def test_the_least_number_of_tokens_counts_the_whole_response(text):
    """SGLang counts anew where a request enters a batch, and a join is such a place."""
    case = cases(43, 1, SHAPE)[0]
    least = len(requests.post(text + "/generate", json=body(case), timeout=200).json()["output_ids"]) - 2
    answer = requests.post(text + "/generate", json=body(case, min_new_tokens=least), timeout=200).json()
    assert check(tiny_qwen3(0), case, answer) > 0


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ({"max_plan": 3}, "npr.max_plan is no option"),
        ({"max_plans": 0}, "npr.max_plans must be a whole number of at least 1, got 0"),
        ({"preset": "best"}, "npr.preset must be one of reference, got 'best'"),
        ("yes", "npr must be true, false or an object of options, got 'yes'"),
    ],
)
def test_a_bad_option_is_named(text, switch, message):
    request = {"text": WORDS[40], "sampling_params": {"custom_params": {"npr": switch}}}
    response = requests.post(text + "/generate", json=request, timeout=200)
    assert response.status_code == 400
    assert message in response.text
