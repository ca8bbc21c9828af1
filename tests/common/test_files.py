"""Files that are replaced are whole or as they were; files that are appended to lose a cut line and nothing else."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from espalier.common.files import drop_cut_line, replacing, told_apart, whole_lines


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o600)
    with pytest.raises(UnicodeEncodeError), replacing(path) as file:
        file.write("half")
        file.write("\ud800")
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write("new é")
        assert path.read_text() == "old"
    assert path.read_text("utf-8") == "new é"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    link.symlink_to(target)
    with replacing(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    """As `--out /dev/null` of root must not make a file of the device."""
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with replacing(pipe) as file:
        file.write("text")
    reader.join(10)
    assert read == ["text"]
    assert pipe.is_fifo()


def test_a_line_that_was_cut_in_the_middle_of_a_character_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("one é\ntwo é".encode()[:-1])
    assert whole_lines(path) == ["one é"]
    drop_cut_line(path)
    assert path.read_text("utf-8") == "one é\n"


def test_what_is_named_alike_is_called_by_its_path() -> None:
    paths = [Path("a/papo"), Path("b/papo"), Path("zero"), Path()]
    assert told_apart(paths, [path.name for path in paths]) == ["a/papo", "b/papo", "zero", "."]
