"""Archives of repositories: the same files give the same name, and a store gives only what its name says."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from espalier.verifiers.patch import repository as module
from espalier.verifiers.patch.repository import Repository, RepositoryError, load, pack, pack_files, store


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def work_tree(tmp_path: Path) -> Path:
    """A repository of git with one commit, a changed file, an ignored and a new one."""
    directory = tmp_path / "work"
    (directory / "src").mkdir(parents=True)
    (directory / "src/a.py").write_text("old\n")
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o755)
    (directory / "link").symlink_to("src/a.py")
    (directory / ".gitignore").write_text("ignored\n")
    (directory / ".gitattributes").write_text("src export-ignore\n")
    git(directory, "init", "-q")
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "-m", "first")
    (directory / "src/a.py").write_text("new\n")
    (directory / "src/b.py").write_text("b\n")
    (directory / "ignored").write_text("secret\n")
    return directory


def test_files_as_they_are_without_what_git_ignores(work_tree: Path) -> None:
    found = Repository(pack(work_tree))
    assert found.paths == {".gitattributes", ".gitignore", "link", "run", "src/a.py", "src/b.py"}
    assert (found.read("src/a.py"), found.is_link("link"), found.is_executable("run")) == (b"new\n", True, True)


def test_files_of_a_revision(work_tree: Path) -> None:
    found = Repository(pack(work_tree, "HEAD"))
    assert found.paths == {".gitattributes", ".gitignore", "link", "run", "src/a.py"}
    assert (found.read("src/a.py"), found.is_link("link"), found.is_executable("run")) == (b"old\n", True, True)
    assert Repository(pack(work_tree / "src", "HEAD")).paths == {"a.py"}


@pytest.mark.parametrize("revision", ["nothing", "--help", "HEAD:src"])
def test_a_revision_that_git_does_not_know(work_tree: Path, revision: str) -> None:
    if revision == "HEAD:src":
        assert Repository(pack(work_tree, revision)).paths == {"a.py"}
        return
    with pytest.raises(RepositoryError, match="no revision"):
        pack(work_tree, revision)


def test_the_same_files_have_the_same_name(tmp_path: Path) -> None:
    names = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for name in ("a", "b") if place == "one" else ("b", "a"):
            (tmp_path / place / name).write_text(name)
        names.append(store(pack(tmp_path / place), tmp_path / "store"))
    assert names[0] == names[1]
    assert [file.name for file in (tmp_path / "store").iterdir()] == [names[0]]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", ".."])
def test_links_out_of_the_repository_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").symlink_to(target)
    if target == "..":
        assert Repository(pack(tmp_path)).is_link("src/a")
        return
    with pytest.raises(RepositoryError, match="leads out"):
        pack(tmp_path)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(3000))
    archive = pack(tmp_path)
    monkeypatch.setattr(module, "MAX_BYTES", 2999)
    with pytest.raises(RepositoryError, match="more than"):
        pack(tmp_path)
    with pytest.raises(RepositoryError):
        Repository(archive)


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE, "../a", "/a", "a/../b"])
def test_an_archive_that_was_not_packed_here_is_refused(kind: bytes | str) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo(kind if isinstance(kind, str) else "a")
        member.type = tarfile.REGTYPE if isinstance(kind, str) else kind
        tar.addfile(member)
    with pytest.raises(RepositoryError, match="neither a file nor a link"):
        Repository(gzip.compress(raw.getvalue()))


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(32 << 20), 1)
    tracemalloc.start()
    with pytest.raises(RepositoryError):
        Repository(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress, gzip.compress])
def test_what_is_compressed_twice_is_no_archive(compress: Callable[[bytes], bytes]) -> None:
    """The limit holds for what is unpacked once."""
    with pytest.raises(RepositoryError, match="no archive"):
        Repository(gzip.compress(compress(gzip.decompress(pack_files({"a": "a"})))))


def test_a_store_gives_only_what_its_name_says(tmp_path: Path) -> None:
    name = store(pack_files({"a": "a"}), tmp_path)
    assert load(name, tmp_path).read("a") == b"a"
    (tmp_path / name).write_bytes(pack_files({"a": "b"}))
    with pytest.raises(RepositoryError, match="not what its name says"):
        load(name, tmp_path)
    with pytest.raises(RepositoryError, match="has no archive"):
        load(hashlib.sha256(b"").hexdigest(), tmp_path)
