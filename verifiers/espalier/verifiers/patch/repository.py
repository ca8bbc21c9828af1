"""Repositories as archives that their content names: what a check can speak of without speaking of a path.

A repository is packed where it is, by its owner, and read by the verifier. An archive holds regular files and links
that stay inside it, nothing of `.git`, and is the same bytes for the same files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import posixpath
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from espalier.verifiers.paths import MAX_PATH, path_problem

MAX_ARCHIVE = 32 << 20
"""Bytes of a packed repository."""

MAX_BYTES = 64 << 20
"""Bytes of all its files."""

MAX_FILES = 20_000
MAX_ALIASES = 1000
"""Paths of one file that are looked at; links that lead to each other make any number."""

_LEFT_OUT = (".git", "__pycache__")


class RepositoryError(ValueError):
    """A repository that cannot be packed or read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or a link of a repository."""

    path: str
    content: bytes
    executable: bool = False
    link: bool = False


class Repository:
    """A packed repository.

    Attributes:
        archive: A compressed tar file.
        size: Bytes of all files.
        paths: Every file and link.
    """

    def __init__(self, archive: bytes) -> None:
        """
        Raises:
            RepositoryError: It is too large, or no archive of a repository.
        """
        self.archive = archive
        try:
            raw = zlib.decompressobj(wbits=31).decompress(archive, 2 * MAX_BYTES)
            self._tar = tarfile.open(fileobj=io.BytesIO(raw), mode="r:")  # noqa: SIM115 (in memory)
            members = self._tar.getmembers()
        except (zlib.error, tarfile.TarError) as error:
            raise RepositoryError(f"is no archive of a repository: {error}") from None
        if not members or any(
            not (member.isreg() or member.issym()) or path_problem(member.name) for member in members
        ):
            raise RepositoryError("holds no file, or what is neither a file nor a link inside the repository")
        self._members = {member.name: member for member in members}
        self._links = {
            member.name: posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
            for member in members
            if member.issym()
        }
        self.size = sum(member.size for member in members)
        if self.size > MAX_BYTES or len(members) > MAX_FILES:
            raise RepositoryError(f"has more than {MAX_BYTES >> 20} MiB or {MAX_FILES} files")

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self._members)

    def is_link(self, path: str) -> bool:
        return path in self._members and self._members[path].issym()

    def aliases(self, path: str) -> frozenset[str]:
        """Further paths under which a path is found, through links."""
        found, rest = {path}, [path]
        while rest:
            place = rest.pop()
            for link, target in self._links.items():
                if place == target or place.startswith(f"{target}/"):
                    other = link + place.removeprefix(target)
                    if other not in found and len(other) <= MAX_PATH and len(found) < MAX_ALIASES:
                        found.add(other)
                        rest.append(other)
        return frozenset(found - {path})

    def is_directory(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self._members)

    def is_executable(self, path: str) -> bool:
        return path in self._members and bool(self._members[path].mode & 0o100)

    def read(self, path: str) -> bytes | None:
        """The content of a regular file, None where there is none."""
        member = self._members.get(path)
        if member is None or not member.isreg():
            return None
        file = self._tar.extractfile(member)
        return file.read() if file is not None else None


def pack(directory: Path, revision: str = "") -> bytes:
    """The archive of a repository.

    Args:
        directory: The repository, or a directory inside of one. Where git knows it, what git ignores is left out.
        revision: A revision of git; empty: the files as they are.

    Raises:
        RepositoryError: There is nothing to pack, it is too large, or git does not know the revision.
    """
    if not directory.is_dir():
        raise RepositoryError(f"{directory} is no directory")
    entries = list(_at_revision(directory, revision) if revision else _at_work(directory))
    if not entries:
        raise RepositoryError(f"there is no file in {directory}")
    archive = _packed(entries)
    if len(archive) > MAX_ARCHIVE:
        raise RepositoryError(f"{directory} takes more than {MAX_ARCHIVE >> 20} MiB packed; pack a part of it")
    return archive


def pack_files(files: Mapping[str, str]) -> bytes:
    """The archive of a repository that consists of these texts, by path."""
    return _packed(_Entry(path, text.encode()) for path, text in files.items())


def _packed(entries: Iterable[_Entry]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=lambda entry: entry.path):
            member = tarfile.TarInfo(entry.path)
            member.mode = 0o755 if entry.executable else 0o644
            if entry.link:
                member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(entry.content)
                tar.addfile(member)
            else:
                member.size = len(entry.content)
                tar.addfile(member, io.BytesIO(entry.content))
    return gzip.compress(raw.getvalue(), 6, mtime=0)


def store(archive: bytes, repositories: Path) -> str:
    """Put an archive into a store, and give its name there: the SHA-256 of its bytes.

    Raises:
        OSError: The store cannot be written.
    """
    name = hashlib.sha256(archive).hexdigest()
    repositories.mkdir(parents=True, exist_ok=True)
    if not (repositories / name).exists():
        whole = repositories / f".{name}.{os.getpid()}"
        whole.write_bytes(archive)
        whole.replace(repositories / name)
    return name


def load(name: str, repositories: Path) -> Repository:
    """A repository of a store.

    Raises:
        RepositoryError: The store does not have it, or something else under its name.
    """
    try:
        with (repositories / name).open("rb") as file:
            archive = file.read(MAX_ARCHIVE + 1)
    except OSError as error:
        raise RepositoryError(
            f"the store of this verifier (ESPALIER_PATCH_REPOSITORIES) has no archive of this name: {error.strerror}; "
            "make it with 'espalier verifiers pack', and copy it there"
        ) from None
    if hashlib.sha256(archive).hexdigest() != name:
        raise RepositoryError("the archive in the store is not what its name says; make it again")
    return Repository(archive)


def _at_work(directory: Path) -> Iterator[_Entry]:
    """The files as they are: those that git knows or does not ignore, or all where there is no git."""
    listed = _git(directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        paths: Iterable[str] = (str(path.relative_to(directory)) for path in directory.rglob("*"))
    else:
        paths = map(os.fsdecode, filter(None, listed.split(b"\0")))
    size = 0
    for path in paths:
        file = directory / path
        if any(part in _LEFT_OUT for part in Path(path).parts):
            continue
        if file.is_symlink():
            yield _checked(_Entry(path, os.fsencode(file.readlink()), link=True))
        elif file.is_file():
            size += file.stat().st_size
            _bounded(size)
            yield _checked(_Entry(path, file.read_bytes(), executable=bool(file.stat().st_mode & 0o100)))


def _at_revision(directory: Path, revision: str) -> Iterator[_Entry]:
    """The files of a revision, as git keeps them; submodules are left out."""
    tree = None if revision.startswith("-") else _git(directory, "ls-tree", "-r", "-z", "-l", revision, "--", ".")
    if tree is None:
        raise RepositoryError(f"git knows no revision {revision!r} in {directory}")
    rows = []
    size = 0
    for line in filter(None, tree.split(b"\0")):
        head, _, file = line.partition(b"\t")
        mode, kind, name, told = head.split()
        if kind == b"blob":
            size += int(told)
            _bounded(size)
            rows.append((os.fsdecode(file), mode, name))
    blobs = _git(directory, "cat-file", "--batch", given=b"".join(name + b"\n" for *_, name in rows)) or b""
    at = 0
    for path, mode, _ in rows:
        start = blobs.index(b"\n", at) + 1
        length = int(blobs[at:start].split()[2])
        at = start + length + 1
        yield _checked(_Entry(path, blobs[start : at - 1], mode == b"100755", mode == b"120000"))


def _checked(entry: _Entry) -> _Entry:
    if problem := path_problem(entry.path):
        raise RepositoryError(f"{entry.path!r} {problem}")
    if entry.link:
        target = os.fsdecode(entry.content)
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), target))
        if target.startswith("/") or inside.split("/")[0] == "..":
            raise RepositoryError(f"the link {entry.path} leads out of the repository, to {target}")
    return entry


def _bounded(size: int) -> None:
    if size > MAX_BYTES:
        raise RepositoryError(f"the files take more than {MAX_BYTES >> 20} MiB; pack a part of the repository")


def _git(directory: Path, *arguments: str, given: bytes | None = None) -> bytes | None:
    """What git prints; None where it fails, or is not installed."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
