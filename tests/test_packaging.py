"""The wheel, installed into an empty environment, solves a problem."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("common", "runtime", "verifiers", "solver", "training", "v1")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target), cwd=ROOT)
    (built,) = target.glob("espalier_npr-*.whl")
    return built


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_holds_every_room_under_one_name_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"espalier"}
    assert {name.split("/")[1] for name in names} == set(ROOMS)
    for room in ROOMS:
        assert f"espalier/{room}/py.typed" in names
    assert any(name.startswith("espalier/runtime/seedling/") and name.endswith(".safetensors") for name in names)
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_wheel_leaves_out_how_its_model_was_made(wheel: Path) -> None:
    recipes = {path.read_bytes() for path in (ROOT / "recipes").rglob("*.py") if path.stat().st_size}
    assert recipes
    with zipfile.ZipFile(wheel) as archive:
        training = {name.split("/")[2] for name in archive.namelist() if name.startswith("espalier/training/")}
        assert not [name for name in archive.namelist() if archive.read(name) in recipes]
    assert training
    assert training.isdisjoint({"traces", "pipeline.py", "table.py"})


def test_the_wheel_is_small_enough_to_carry_its_model(wheel: Path) -> None:
    assert wheel.stat().st_size < 36 << 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_installed_into_an_empty_environment_solves_a_problem(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python, espalier = str(home / "bin" / "python"), str(home / "bin" / "espalier")
    # Without bytecode: compiling torch's would take longer than everything else.
    tested = str(ROOT / "constraints.txt")
    install = (python, str(ROOT / "scripts" / "uv_pip.py"), "install", "-q")
    run(*install, "--constraint", tested, f"{wheel}[local]", cwd=tmp_path)
    run(python, "-m", "pip", "check", cwd=tmp_path)
    run(espalier, "--help", cwd=tmp_path)
    problem = (
        "Find the Greatest Common Divisor (GCD) of these numbers: 84, 126. Give only the GCD as your final answer."
    )
    shown = run(espalier, "solve", "--json", "--seed", "1", problem, cwd=tmp_path, HOME=str(tmp_path))
    result = json.loads(shown)
    assert (result["answer"], result["outcome"]) == ("42", "OUTCOME_VERIFIED")
    names = ("common", "runtime", "verifiers", "solver", "training")
    script = f"import importlib.util as u; print([n for n in {names!r} if u.find_spec(n)])"
    assert run(python, "-c", script, cwd=tmp_path).strip() == "[]"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_tested_version_can_be_installed_with_the_oldest_python_that_is_promised() -> None:
    lock = script("lock")
    assert lock.too_new(lock.tested(), lock.oldest_python()) == []


def test_a_version_that_the_oldest_python_cannot_take_is_named() -> None:
    (told,) = script("lock").too_new([("pytest", "9.0")], Version("2.7"))
    assert told.startswith("pytest 9.0 needs Python >=3.")


@pytest.fixture
def uv_pip() -> ModuleType:
    return script("uv_pip")


def test_what_a_machine_tells_pip_uv_is_told_too(uv_pip: ModuleType) -> None:
    listing = """
:env:.find-links='/wheels'
:env:.index-url=''
freeze.timeout='1'
global.cache-dir='/big'
global.cert='/etc/ca.pem'
global.extra-index-url='\\nfile:///one\\nfile:///two'
global.find-links='/other'
global.no-cache-dir='false'
global.no-index='true'
global.timeout='15.5'
install.index-url='https://me:secret@mirror/simple'
"""
    settings = uv_pip.pip_settings(listing)
    assert list(uv_pip.options(settings)) == ["--no-index", "--find-links", "/wheels"]
    told = dict(uv_pip.variables(settings, "https://torch"))
    told.pop("UV_SYSTEM_CERTS", None)  # of this machine
    assert told == {
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_CACHE_DIR": "/big/uv",
        "UV_DEFAULT_INDEX": "https://me:secret@mirror/simple",
        "UV_HTTP_TIMEOUT": "16",
        "UV_INDEX": "https://torch file:///one file:///two",
    }


def test_what_pip_refuses_ends_an_installation_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("no section\n")
    told = {**os.environ, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    command = [sys.executable, str(ROOT / "scripts" / "uv_pip.py"), "install", "--dry-run", "x"]
    ended = subprocess.run(command, env=told, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "pip.conf" in ended.stderr and "Traceback" not in ended.stderr
