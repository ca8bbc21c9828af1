"""One setting chooses the engine, and a model's directory brings its instruction text."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.runtime.engine import EngineInfo
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.engines import EngineSettingError, open_engine, template_of
from tests.solver.scripted import ScriptedEngine


def named(model: Path) -> ScriptedEngine:
    return ScriptedEngine.of("", info=EngineInfo(str(model), 1024, parallel=True))


async def test_a_directory_is_loaded_and_freed(random_model: Path) -> None:
    async with open_engine(f"local:{random_model}") as engine:
        assert engine.info.model == str(random_model)
        assert engine.info.parallel


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", "unknown engine ''"),
        ("locale", "unknown engine 'locale'"),
        ("local:/no/such", "no model directory at /no/such"),
        ("sglang://", "write sglang://HOST:PORT"),
        ("sglang://host", "write sglang://HOST:PORT"),
    ],
)
async def test_a_setting_that_names_no_engine_says_what_to_write(setting: str, said: str) -> None:
    with pytest.raises(EngineSettingError, match=said):
        async with open_engine(setting):
            pass


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
