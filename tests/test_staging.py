import errno
import os
import subprocess

import pytest

from edgewright.errors import WriteFailed
from edgewright.staging import making, replacing


def test_a_file_takes_its_place_whole(tmp_path):
    out = tmp_path / "new" / "x.bin"
    for text in ("one", "two"):
        with replacing(out) as aside:
            aside.write_text(text)
        assert out.read_text() == text
    assert [path.name for path in out.parent.iterdir()] == ["x.bin"]


def test_a_folder_replaces_a_folder(tmp_path):
    out = tmp_path / "bundle"
    for name in ("one", "two"):
        with replacing(out) as aside:
            aside.mkdir()
            (aside / name).write_text("")
    assert [path.name for path in out.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failure_keeps_the_old(tmp_path):
    out = tmp_path / "x"
    out.write_text("old")
    with pytest.raises(WriteFailed, match="No space left on device; nothing was kept"), replacing(out) as aside:
        aside.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert out.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match="File exists"), replacing(tmp_path / "file" / "x"):
        pass


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), making(tmp_path, ""):
        (tmp_path / "absent").read_text()


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    done = subprocess.Popen(["true"])
    done.wait()
    dead, living = tmp_path / f".making-{done.pid}-x", tmp_path / f".making-{os.getpid()}-y"
    for leftover in (dead, living):
        leftover.mkdir()
    with making(tmp_path, ""):
        assert not dead.exists() and living.exists()
