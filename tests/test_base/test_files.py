"""Files that are written whole, that only their owner reads, and locks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from labs import until

from helpers.base.files import free_name, try_lock, write_private, write_whole


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old content, and nothing beside it."""
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as change, pytest.raises(OSError):
        change.setattr(Path, "replace", fail)
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0)
    try:
        write_private(path, "é")
    finally:
        os.umask(before)
    assert path.read_text(encoding="utf-8") == "é"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_free_names(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    names = []
    for _ in range(3):
        names.append(free_name(path, "new"))
        names[-1].touch()
    assert [name.name for name in names] == ["a.new.ipynb", "a.new2.ipynb", "a.new3.ipynb"]


def test_a_lock_ends_with_its_owner(tmp_path: Path) -> None:
    """Also after SIGKILL; and the file keeps its content."""
    path = tmp_path / "lock"
    path.write_bytes(b"running\n")
    code = (
        "import sys, time; from helpers.base.files import try_lock\n"
        f"file = open({str(path)!r}, 'ab'); print(try_lock(file), flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert owner.stdout and owner.stdout.readline() == b"True\n"
    with path.open("ab") as file:
        assert not try_lock(file)
        owner.kill()
        owner.wait()
        until(lambda: try_lock(file), 10, "the lock's end")
    assert path.read_bytes() == b"running\n"
