import errno
import json
import os
import subprocess
import sys

import pytest

from edgewright.errors import BadInput, WriteFailed
from edgewright.export.fingerprint import source_digest
from edgewright.export.store import Store, canonical


def writer(text, calls):
    def make(folder):
        calls.append(text)
        (folder / "file").write_text(text)
        return {"said": text}

    return make


def test_the_second_time_comes_from_the_store(tmp_path):
    store, calls = Store(tmp_path), []
    first = store.get_or_make({"a": 1, "b": [2]}, writer("one", calls))
    again = store.get_or_make({"b": [2], "a": 1}, writer("two", calls))
    assert (first.hit, again.hit, calls) == (False, True, ["one"])
    assert again.record == {"said": "one"} and (again.folder / "file").read_text() == "one"


def test_another_key_is_another_entry(tmp_path):
    store, calls = Store(tmp_path), []
    store.get_or_make({"a": 1}, writer("one", calls))
    assert not store.get_or_make({"a": 2}, writer("two", calls)).hit
    assert canonical({"b": 1, "a": "é"}) == '{"a":"\\u00e9","b":1}'


def test_a_failure_is_not_remembered_and_leaves_nothing(tmp_path):
    store, calls = Store(tmp_path), []

    def fail(folder):
        (folder / "half").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.get_or_make({"a": 1}, fail)
    assert list(tmp_path.rglob("*")) == []
    assert not store.get_or_make({"a": 1}, writer("one", calls)).hit


def test_a_full_disk_says_what_to_do_and_leaves_nothing(tmp_path):
    def full(folder):
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteFailed, match=r"No space left on device; nothing was kept. Free space"):
        Store(tmp_path).get_or_make({"a": 1}, full)
    assert list(tmp_path.rglob("*")) == []


def test_a_real_full_disk(tmp_path):
    """RLIMIT_FSIZE stands in for a full disk: the kernel refuses the write."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from edgewright.errors import BadInput, WriteFailed
from edgewright.export.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
def make(folder):
    (folder / "big").write_bytes(b"x" * 5000)
    return {{}}
try:
    Store(Path({str(tmp_path)!r})).get_or_make({{"a": 1}}, make)
except WriteFailed as error:
    sys.exit(0 if "File too large" in str(error) else 3)
sys.exit(4)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert list(tmp_path.rglob("*")) == []


def test_a_killed_build_leaves_no_entry_and_the_next_one_cleans_up(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from edgewright.export.store import Store
def make(folder):
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
Store(Path({str(tmp_path)!r})).get_or_make({{"a": 1}}, make)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [path.name for path in tmp_path.rglob("half")] == ["half"]
    calls = []
    assert not Store(tmp_path).get_or_make({"a": 1}, writer("one", calls)).hit
    assert list(tmp_path.rglob("half")) == [] and calls == ["one"]


def test_a_damaged_entry_is_made_again(tmp_path):
    store, calls = Store(tmp_path), []
    entry = store.get_or_make({"a": 1}, writer("one", calls))
    (entry.folder / "file").write_text("tampered")
    assert not store.get_or_make({"a": 1}, writer("one", calls)).hit
    (tmp_path / entry.folder.parent.parent.name / entry.folder.parent.name / "entry.json").write_text("{")
    assert not store.get_or_make({"a": 1}, writer("one", calls)).hit
    assert len(calls) == 3


def test_two_builds_at_once_agree(tmp_path):
    code = f"""
import time
from pathlib import Path
from edgewright.export.store import Store
def make(folder):
    (folder / "file").write_text("same")
    time.sleep(0.5)
    return {{"said": "same"}}
entry = Store(Path({str(tmp_path)!r})).get_or_make({{"a": 1}}, make)
assert (entry.folder / "file").read_text() == "same"
"""
    builds = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [build.wait() for build in builds] == [0, 0, 0]
    assert len(list(tmp_path.rglob("entry.json"))) == 1
    assert list(tmp_path.glob(".making-*")) == []


def test_trim_removes_the_least_recently_used(tmp_path):
    store, calls = Store(tmp_path), []
    for name in "abc":
        store.get_or_make({"name": name}, writer(name * 10_000, calls))
    for index, name in enumerate("bca"):
        entry = store.find({"name": name}).folder.parent / "entry.json"
        os.utime(entry, (index, index))
    removed = store.trim(45_000)  # an entry is 10 kB of file and 10 kB of record
    assert 20_000 < removed < 21_000
    assert store.find({"name": "b"}) is None and store.find({"name": "a"}) and store.find({"name": "c"})
    assert store.size_bytes() < 45_000


def test_what_is_unfinished_outlives_a_kill_and_not_the_end(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.unfinished({"a": 1}) as folder:
        (folder / "half").write_text("half")
        with store.unfinished({"a": 1}) as held, store.unfinished({"a": 2}) as other:
            assert held is None and other is not None and other != folder
        raise KeyboardInterrupt
    with store.unfinished({"a": 1}) as again:
        assert again == folder and (again / "half").read_text() == "half"
    assert not folder.exists()
    with pytest.raises(BadInput), store.unfinished({"a": 1}) as refused:
        raise BadInput("no")
    assert not refused.exists()


def test_trim_removes_what_is_unfinished(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.unfinished({"a": 1}) as folder:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt
    assert store.trim(0) == 4 and not folder.exists()


def test_fingerprint_sees_the_modules_that_are_imported(tmp_path, monkeypatch):
    package = tmp_path / "edgewright_probe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("def f():\n    from edgewright_probe.b import g\n    return g\n")
    (package / "b.py").write_text("def g(): return 1\n")
    (package / "c.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("edgewright.export.fingerprint.PACKAGE", "edgewright_probe")
    seen = [source_digest.__wrapped__("edgewright_probe.a")]
    (package / "c.py").write_text("x = 2\n")
    seen.append(source_digest.__wrapped__("edgewright_probe.a"))
    (package / "b.py").write_text("def g(): return 2\n")
    seen.append(source_digest.__wrapped__("edgewright_probe.a"))
    assert seen[0] == seen[1] != seen[2]


def test_fingerprint_of_a_writer_covers_its_ops_and_the_passes():
    from edgewright.export.fingerprint import sources

    tflite = sources("edgewright.export.tflite.convert")
    assert "edgewright.export.tflite.ops.conv" in tflite
    assert "edgewright.export.lowering" in tflite
    assert not any(name.startswith("edgewright.export.coreml") for name in tflite)
    assert "edgewright.export.onnx.passes.batchnorm" in sources("edgewright.export.capture")


def test_entries_are_plain_json(tmp_path):
    store = Store(tmp_path)
    entry = store.get_or_make({"a": 1}, writer("one", []))
    text = json.loads((entry.folder.parent / "entry.json").read_text())
    assert text["key"] == {"a": 1} and text["record"] == {"said": "one"} and len(text["digest"]) == 64
