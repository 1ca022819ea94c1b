"""Labs of their own for the tests: real processes, in folders that are gone afterwards.

The run's lab (see helpers/commands/own_lab.py) serves the tests that only use servers. A test that
kills, fills or breaks something makes a lab of its own, with the fixture `lab` of conftest.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.manager import KernelManager

from helpers import kinds
from helpers.base.paths import ROOT
from helpers.engines import start

# The shell lets programs in the background ignore Ctrl-C, and they hand that on.
IN_TERMINAL = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])",
)
# Reads one program text a line, runs it, and answers with what it printed and left in `result`.
PROGRAM = """
import contextlib, io, json, signal, sys
# As in a terminal, also when the tests run in the background of a shell, which ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
space, answers = {}, sys.stdout
for line in sys.stdin:
    printed, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(json.loads(line), space)
    except BaseException as problem:
        error = f"{type(problem).__name__}: {problem}"
    answer = {"error": error, "printed": printed.getvalue(), "result": space.pop("result", None)}
    print(json.dumps(answer, default=str), file=answers, flush=True)
"""


class Failed(Exception):
    """The code that a program or a kernel ran raised an error. The text is the error's."""


def until(condition: Callable[[], Any], seconds: float = 30, what: str = "it") -> Any:
    """Wait until a condition holds and return its value; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.02)
    return value


def kill(process: psutil.Process) -> None:
    """Send SIGKILL and wait until the process is gone."""
    process.kill()
    gone(process)


def gone(*processes: psutil.Process) -> None:
    """Wait until processes have ended. A zombie that its parent has not fetched has ended."""
    for process in processes:
        until(lambda p=process: not is_running(p), 30, f"the end of {process}")


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Program:
    """A Python program that uses the lab, as a learner's script or notebook does."""

    def __init__(self, lab: Lab, *prefix: str) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=lab.course,
            env=lab.env,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.printed = ""

    def begin(self, source: str) -> None:
        """Start to run some code; `end` gives its result."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(source) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        assert self.process.stdout
        limit = threading.Timer(120, self.process.kill)
        limit.start()
        line = self.process.stdout.readline()
        limit.cancel()
        assert line, "the program ended, or did not answer within 120 s"
        answer = json.loads(line)
        self.printed = answer["printed"]
        if answer["error"]:
            raise Failed(answer["error"])
        return answer["result"]

    def run(self, source: str) -> Any:
        """Run some code and return what it left in `result`. Raises Failed."""
        self.begin(source)
        return self.end()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        """End as a program does that is finished."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


class Kernel:
    """A real Jupyter kernel."""

    def __init__(self, lab: Lab) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=lab.env, cwd=str(lab.course))
        self.connect()

    def connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def pid(self) -> int:
        return int(self.run("import os; print(os.getpid())"))

    def begin(self, source: str) -> str:
        return str(self.client.execute(source))

    def end(self, message: str) -> str:
        """Return what the code printed and displayed. Raises Failed with the traceback shown."""
        shown, error = "", None
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(queue.Empty):
                reply = self.client.get_iopub_msg(timeout=1)
                if reply["parent_header"].get("msg_id") == message:
                    content = reply["content"]
                    if reply["msg_type"] == "stream":
                        shown += content["text"]
                    elif "data" in content:
                        shown += content["data"].get("text/plain", "") + "\n"
                    elif reply["msg_type"] == "error":
                        error = "\n".join([*content["traceback"], content["ename"]])
                    elif content.get("execution_state") == "idle":
                        break
            assert time.monotonic() < deadline, "the kernel did not answer"
        if error:
            raise Failed(shown + error)
        return shown

    def run(self, source: str) -> str:
        return self.end(self.begin(source))

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class Lab:
    """A state folder of its own, with the commands, programs and kernels that use it."""

    def __init__(self, folder: Path, state: Path | None = None, course: Path = ROOT) -> None:
        self.folder = folder
        self.state = state or folder / "state"
        self.course = course
        self.programs: list[Program] = []
        self.kernels: list[Kernel] = []
        self.others: list[psutil.Process] = []
        self.env = {name: value for name, value in os.environ.items() if name[:4] != "LAB_"}
        self.env |= {"LAB_STATE": str(self.state), "LAB_IDLE_SECONDS": "1", "LAB_ENV": "current"}
        self.env |= {"LAB_WORK": str(folder / "work"), "PYTHONUNBUFFERED": "1"}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m helpers ...` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "helpers", *arguments],
            cwd=self.course,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=150,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def start_run(self, *arguments: str) -> psutil.Popen:
        """Start a verb that uses servers of its own; their folder is in this lab's."""
        self.state.mkdir()
        self.env |= {"TMPDIR": str(self.state), "LAB_IDLE_SECONDS": "600"}
        command = [*IN_TERMINAL, sys.executable, "-m", "helpers", *arguments]
        none, options = subprocess.DEVNULL, {"cwd": self.course, "env": self.env}
        run = psutil.Popen(command, stdout=none, stderr=none, start_new_session=True, **options)
        self.others.append(run)
        return run

    def program(self, *prefix: str) -> Program:
        self.programs.append(Program(self, *prefix))
        return self.programs[-1]

    def kernel(self) -> Kernel:
        self.kernels.append(Kernel(self))
        return self.kernels[-1]

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Return every process that works on this lab's folder, whatever it is.

        Found by command line or working folder, not by what the lab has recorded. `word` picks
        those whose command line holds it.
        """
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            with contextlib.suppress(psutil.Error):
                ours = str(self.state) in line or process.cwd().startswith(str(self.state))
                if ours and word in line and is_running(process):
                    found.append(process)
        return found

    def one(self, word: str) -> psutil.Process:
        """Return the lab's only process whose command line holds `word`."""
        (process,) = self.processes(word)
        return process

    @property
    def supervisor(self) -> psutil.Process:
        return self.one("helpers.supervisor")

    def empty(self, seconds: float = 30) -> None:
        """Wait until none of the lab's processes is left."""
        until(lambda: not self.processes(), seconds, f"the end of {self.processes()}")

    def close(self) -> None:
        """End every process of the test and remove the folder, whatever the test did."""
        for kernel in self.kernels:
            with contextlib.suppress(Exception):
                kernel.close()
        for program in self.programs:
            program.kill()
        for process in [*self.others, *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                gone(process)
        for process in self.processes():  # what was born meanwhile
            with contextlib.suppress(psutil.NoSuchProcess):
                kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def new_folder() -> Path:
    """Make a folder that root's PostgreSQL can enter, which pytest's tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="lab-test-")).resolve()
    folder.chmod(0o711)
    return folder


def run_in(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a lesson's folder, as a learner at work would."""
    command = [sys.executable, *arguments]
    env = os.environ | settings
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def passes_its_own_tests(folder: Path, file: str, **settings: str) -> None:
    """Run the tests that a lesson's final version brings; none may fail or be skipped."""
    # Without the course's settings: at work there are none.
    options = ["-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:nbval"]
    run = run_in(folder, "-m", "pytest", *options, file, **settings)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout


def in_a_namespace(script: str) -> list[str]:
    """Return the start of a command that mounts what `script` says, for itself only.

    The rest of the command runs as the same user, below these mounts.
    """
    mounts = ["--mount"] if os.geteuid() == 0 else ["-U", "--map-current-user", "--keep-caps", "-m"]
    return ["unshare", *mounts, "sh", "-c", f'{script} && exec "$@"', "sh"]


# For each kind of server: take a lesson's place, write a value, read it. `db` is the place.
TAKE = {
    "postgresql": "from helpers import lab; db = lab.postgres('91')",
    "redis": "from helpers import lab; db = lab.redis('91')",
    "mongodb": "from helpers import lab; db = lab.mongodb('91')",
}


def look(kind: str, lesson: str = "91", name: str = "") -> str:
    """Return code that takes a lesson's place as it is, without emptying it."""
    place = f"KINDS[{kind!r}].place({lesson!r}, {name!r}, start.server({kind!r}))"
    return f"from helpers.engines import start; from helpers.kinds import KINDS; db = {place}"


def place_of(kind: str, lesson: str, name: str = "") -> Any:
    """Return a lesson's place as it is, on this process's lab."""
    return kinds.KINDS[kind].place(lesson, name, start.server(kind))


WRITE = {
    "postgresql": (
        "with db.connect() as c:\n"
        "    c.execute('CREATE TABLE t (v text)')\n"
        "    c.execute(\"INSERT INTO t VALUES ('kept')\")"
    ),
    "redis": "with db.connect() as c: c.set('t', 'kept')",
    "mongodb": "with db.connect() as c: c[db.database].t.insert_one({'v': 'kept'})",
}
READ = {
    "postgresql": "with db.connect() as c: result = c.execute('SELECT v FROM t').fetchone()[0]",
    "redis": "with db.connect() as c: result = c.get('t')",
    "mongodb": "with db.connect() as c: result = c[db.database].t.find_one()['v']",
}
KINDS = tuple(TAKE)
each_kind = pytest.mark.parametrize("kind", KINDS)
