"""Build the course's Python environment, `.venv`, and run in it.

Standard library only, and only what Python 3.8 understands: this file runs in whatever Python
the machine has, before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from helpers.base.errors import LabError
from helpers.base.files import try_lock
from helpers.base.paths import ROOT
from helpers.environment import node

VENV = ROOT / ".venv"
STAMP = VENV / "course-stamp"
OLDEST, NEWEST = (3, 11), (3, 13)
LOCK_SECONDS = 900


def venv_python() -> Path:
    """Return the path of the environment's Python."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted() -> str:
    """Return what the environment must be made from: a change in any part makes a new one."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("requirements.txt", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def current() -> bool:
    """Tell whether the environment is complete and made from the present requirements."""
    try:
        return STAMP.read_text() == wanted() and venv_python().exists()
    except OSError:
        return False


def supported(*command: str) -> str | None:
    """Return the path of the Python that a command starts, if the servers' wheels support it.

    Found on PATH does not mean that it runs: it may be a version manager's placeholder.
    """
    ask = "import sys; print(*sys.version_info[:2], sys.executable)"
    try:
        answer = subprocess.check_output([*command, "-c", ask], stderr=subprocess.DEVNULL)
        major, minor, path = os.fsdecode(answer).split(None, 2)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return path.strip() if OLDEST <= (int(major), int(minor)) <= NEWEST else None


def find_python() -> str:
    """Return a Python that the servers' wheels support: this one, or another on the machine.

    Raises LabError when there is none.
    """
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        launcher = ["py", f"-3.{minor}"] if os.name == "nt" else [f"python3.{minor}"]
        found = shutil.which(launcher[0])
        python = supported(found, *launcher[1:]) if found else None
        if python:
            return python
    here = ".".join(str(part) for part in sys.version_info[:2])
    raise LabError(
        f"The course needs Python 3.11, 3.12 or 3.13; {sys.executable} is {here}, and no other "
        "was found on PATH. Install one of them, or install uv, which brings its own. "
        "Then run the same command again."
    )


def run(*command: object) -> bool:
    """Run an installer's command, its messages going to the terminal; tell whether it worked."""
    # The messages go to stderr, so that `status --json` prints nothing but its answer.
    words = [str(word) for word in command]
    return subprocess.run(words, stdout=sys.stderr, check=False).returncode == 0


def make_venv(uv: str | None) -> None:
    """Create `.venv`, unless a usable one is there already."""
    python = venv_python()
    if python.exists() and supported(str(python)):
        return
    shutil.rmtree(str(VENV), ignore_errors=True)
    if uv:
        versions = f">={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"
        if run(uv, "venv", "--quiet", "--python", versions, VENV):
            return
        print("uv could not make the environment; trying Python's venv.", file=sys.stderr)
        shutil.rmtree(str(VENV), ignore_errors=True)
    interpreter = find_python()
    if not run(interpreter, "-m", "venv", VENV):
        raise LabError(
            f"{interpreter} cannot make an environment in {VENV}. On Debian and Ubuntu: "
            "`sudo apt install python3-venv`. Or install uv. Then run the same command again."
        )


def install(uv: str | None) -> None:
    """Install the requirements into `.venv`: with uv where possible, else with pip."""
    python = venv_python()
    what = ["-r", ROOT / "requirements.txt", "-c", ROOT / "constraints.txt"]
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]

    def have_pip() -> None:
        ask = [str(python), "-c", "import pip"]
        if subprocess.run(ask, capture_output=True, check=False).returncode:
            run(python, "-m", "ensurepip", "--upgrade")

    if not uv:
        have_pip()
        if run(*pip, "uv"):
            uv = str(python.with_name("uv.exe" if os.name == "nt" else "uv"))
        else:
            print("uv cannot be had; pip takes its place.", file=sys.stderr)
    if uv and run(uv, "pip", "install", "--quiet", "--python", python, *what):
        return
    if uv:
        print("uv could not install the packages; trying pip.", file=sys.stderr)
        have_pip()
    if not run(*pip, *what):
        raise LabError(
            f"The packages could not be installed into {VENV}; the messages above say why. "
            "Usual reasons: no network or a proxy that pip does not know, or a full disk. "
            "Nothing is lost: run the same command again."
        )


def build(again: bool = False) -> None:
    """Make the environment, or bring it up to date. Raises LabError when that fails.

    `again`: npm packages that could not be had are tried once more.
    """
    try:
        lock = Lock(VENV.with_name(".venv.lock"))
    except OSError as problem:
        raise LabError(
            f"The environment cannot be made in {ROOT}: {problem.strerror}. "
            "Copy the course to a folder that you can write to."
        ) from None
    with lock:
        if not current():  # else another command was faster
            build_python()
        if node.due(again, str(venv_python())):
            node.install(str(venv_python()))


def complete(again: bool) -> None:
    """Install the npm packages with the running Python's Node, for an environment of its own.

    Nothing else needs them, so a course that cannot be written to is no error.
    """
    if not node.due(again, sys.executable):
        return
    try:
        with Lock(VENV.with_name(".venv.lock")):
            if node.due(again, sys.executable):  # else another command was faster
                node.install(sys.executable)
    except OSError as problem:
        print(
            f"The lessons' npm packages cannot be installed in {node.FOLDER}: {problem.strerror}. "
            "Copy the course to a folder that you can write to, or let its owner run "
            f"{node.command(sys.executable)}. All other lessons work without them.",
            file=sys.stderr,
        )


def build_python() -> None:
    """Make `.venv` and install the requirements."""
    print(f"Preparing the environment in {VENV} (once) ...", file=sys.stderr)
    started = time.monotonic()
    uv = shutil.which("uv")
    make_venv(uv)
    if STAMP.exists():
        STAMP.unlink()  # from here on it is neither the old environment nor the new one
    install(uv)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.check_output([str(venv_python()), "-c", ask], text=True)
    # With this file, notebooks find `helpers` wherever they are; before the folder that they are
    # in, where a learner may have a helpers.py, and behind PYTHONPATH, by which another copy of
    # the course names itself. In ASCII: Pythons differ in the encoding that they expect here.
    named = "len(list(filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))))"
    line = f"import os, sys; sys.path.insert({named}, {str(ROOT)!a})\n"
    Path(answer.strip(), "course.pth").write_text(line, encoding="ascii")
    STAMP.write_text(wanted())
    print(f"Ready after {time.monotonic() - started:.0f} s.", file=sys.stderr)


class Lock:
    """The lock of a file, waited for; the operating system gives it back however we end."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab")

    def __enter__(self) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                if try_lock(self.file):
                    return
            except OSError:  # a file system that has no locks just now
                pass
            if time.monotonic() > deadline:
                raise LabError(
                    f"Another command has been preparing the environment for "
                    f"{LOCK_SECONDS // 60} minutes. End it, then try again."
                )
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.file.close()


def enter(arguments: list[str]) -> None:
    """Return inside the environment; from outside, build it and start over in it.

    `LAB_ENV=current` uses the running Python as it is, for images that bring the packages. Only
    the lessons' npm packages are installed, before a command that runs lessons.
    """
    if os.environ.get("LAB_ENV") == "current":
        if arguments[:1] in (["env"], ["lab"], ["test"], ["outputs"], ["soak"]):
            complete(again=arguments[0] == "env")
        return
    # Images often set this. Then each of the many processes compiles every package anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Below, the command starts over in the environment: npm is not tried again there.
    again = arguments[:1] == ["env"] and not os.environ.get("LAB_STARTED_OVER")
    if not current() or node.due(again, str(venv_python())):
        build(again)
    if Path(sys.prefix).resolve() == VENV.resolve():
        os.environ.pop("LAB_STARTED_OVER", None)
        return
    os.environ["LAB_STARTED_OVER"] = "yes"
    become([str(venv_python()), "-m", "helpers", *arguments])


def become(command: list[str]) -> NoReturn:
    """Go on as another program: its exit code is ours, and whoever ends us ends it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    while True:
        # Ctrl-C goes to both. This one waits until the other has tidied up.
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(process.wait())
