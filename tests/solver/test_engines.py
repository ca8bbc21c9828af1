"""One setting chooses the engine; a model's directory brings its instruction text and how it is decoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import EngineInfo
from espalier.runtime.local import SEEDLING
from espalier.runtime.open import EngineSettingError, decoding_defaults_of, open_engine, template_of
from espalier.runtime.prompt import PromptTemplate
from tests.runtime.sglang_client.fake import FakeSglang, embedded
from tests.solver.scripted import ScriptedEngine


def named(model: Path) -> ScriptedEngine:
    return ScriptedEngine.of("", info=EngineInfo(str(model), 1024, parallel=True))


async def test_a_directory_is_loaded_and_freed(random_model: Path) -> None:
    async with open_engine(f"local:{random_model}") as engine:
        assert engine.info.model == str(random_model)
        assert engine.info.parallel


async def test_rows_and_memory_of_the_embedded_engine_can_be_chosen(random_model: Path) -> None:
    async with open_engine(f"local:{random_model}?rows=3&kv-tokens=640") as engine:
        assert engine.info.details["kv_tokens"] == 640
        assert engine.info.details["rows"] == 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", "unknown engine ''"),
        ("locale", "unknown engine 'locale'"),
        ("local:/no/such", "no model directory at /no/such"),
        ("local:/proc", "/proc holds no config.json: not a model directory"),
        ("local?row=3", "unknown option 'row'; there are rows and kv-tokens"),
        ("local?rows=0", "rows must be a whole number above 0, got '0'"),
        ("local?kv-tokens=1e6", "kv-tokens must be a whole number above 0, got '1e6'"),
        ("sglang://", "write sglang://HOST:PORT"),
        ("sglang://host", "write sglang://HOST:PORT"),
        ("sglang://host:1,other", "lacks host or port"),
        ("sglang://host:70000", "lacks host or port"),
        ("sglang://me:secret@host:1", "no place for a secret"),
        ("sglang://host:1/generate", "more than servers and options"),
        ("sglang://host:1?key=secret", "unknown option 'key'; there are key-file and tokenizer"),
        ("sglang://host:1?key-file=/no/such", "key-file /no/such cannot be read"),
        ("sglang://host:1?key-file=/dev/null", "key-file /dev/null: a secret is one line"),
    ],
)
async def test_a_setting_that_names_no_engine_says_what_to_write(setting: str, said: str) -> None:
    with pytest.raises(EngineSettingError, match=said):
        async with open_engine(setting):
            pass


async def test_a_list_of_servers_and_a_key_file_reach_the_client(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-secret\n")
    served = FakeSglang(embedded({(): (None,) * 10_000}), key="a-secret")
    async with served.engine, served.serving():
        address = served.url.removeprefix("http://")
        setting = f"sglang://127.0.0.1:9,{address}?key-file={tmp_path / 'key'}&tokenizer={SEEDLING}"
        async with open_engine(setting) as engine:
            assert engine.info.details["servers"] == {"http://127.0.0.1:9": "down", served.url: "up"}


def test_the_instruction_text_is_the_given_file_or_that_of_the_model(tmp_path: Path) -> None:
    assert template_of(named(tmp_path / "nowhere"), None) == PromptTemplate()
    assert template_of(named(tmp_path), None) == PromptTemplate()
    (tmp_path / "instruction.txt").write_text("Solve: {question}\n")
    assert template_of(named(tmp_path), None) == PromptTemplate("Solve: {question}")
    other = tmp_path / "other.txt"
    other.write_text("Think. {question}")
    assert template_of(named(tmp_path), other) == PromptTemplate("Think. {question}")
    other.write_text("no place for it")
    with pytest.raises(ValueError, match=r"other.txt: the instruction text must hold \{question\}"):
        template_of(named(tmp_path), other)
    with pytest.raises(ValueError, match="cannot read the instruction text"):
        template_of(named(tmp_path), tmp_path / "missing.txt")


def test_a_model_is_decoded_as_its_directory_says(tmp_path: Path) -> None:
    assert decoding_defaults_of(named(tmp_path / "nowhere")) == DecodingDefaults()
    assert decoding_defaults_of(named(tmp_path)) == DecodingDefaults()
    DecodingDefaults(max_plans=4).save(tmp_path)
    assert decoding_defaults_of(named(tmp_path)) == DecodingDefaults(max_plans=4)
    (tmp_path / "decoding.json").write_text('{"max_plans": "4"}')
    with pytest.raises(ValueError, match=r"decoding\.json: max_plans must be a whole number"):
        decoding_defaults_of(named(tmp_path))


async def test_a_servers_model_that_is_not_on_this_machine_has_the_directory_that_its_tokenizer_came_from(
    tmp_path: Path,
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copyfile(SEEDLING / name, tmp_path / name)
    (tmp_path / "instruction.txt").write_text("Solve: {question}")
    DecodingDefaults(max_plans=4).save(tmp_path)
    for model, template, decoding in (
        ("/nowhere/model", PromptTemplate("Solve: {question}"), DecodingDefaults(max_plans=4)),
        (str(SEEDLING), PromptTemplate(), DecodingDefaults()),
    ):
        served = FakeSglang(embedded({}), model=model)
        async with served.engine, served.serving():
            setting = f"sglang://{served.url.removeprefix('http://')}?tokenizer={tmp_path}"
            async with open_engine(setting) as engine:
                assert (template_of(engine, None), decoding_defaults_of(engine)) == (template, decoding)
