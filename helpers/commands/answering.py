"""A process that runs answers to one notebook's exercises, with a limit on time for each.

    with Answers(outline.find("05b")) as answers:
        answers.answer(1, "loyal = []\\n\\nex1.check()", seconds=20).outcome

An answer may never end, or leave names, sessions and tasks behind. So it runs in a process of its
own, which is interrupted, and killed when that does not help; the names of the notebook's cells
are brought back before each answer, and open transactions are ended after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from helpers.base.errors import LabError
from helpers.base.paths import ROOT
from helpers.commands.trial import Outcome, Trial
from helpers.kinds.place import Place
from helpers.kinds.postgresql import PostgresPlace
from helpers.outline import Notebook

SET_UP_SECONDS = 240
GRACE_SECONDS = 5
HANGS = "hangs"
#: The sessions that an answer may have left at work. Idle ones may belong to an engine's pool.
END_WORK = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend' AND state <> 'idle'
"""


class Answers:
    """The parent's end: answers go in, outcomes come out."""

    def __init__(self, notebook: Notebook) -> None:
        """Args: the notebook, whose exercises are answered."""
        self.notebook = notebook
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Answers:
        """Start nothing yet: the first answer does."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.end()

    def answer(self, place: int, source: str, seconds: float) -> Outcome:
        """Run an answer; the outcome is "hangs" when it did not end in time.

        The first answer to an exercise may take longer, because the cells above it run first.

        Raises:
            LabError: the notebook's own cells do not run.
        """
        said = self.ask({"place": place, "set_up": True}, SET_UP_SECONDS)
        if said is None or "error" in said:
            self.end()
            raise LabError(said["error"] if said else "The notebook's cells did not end in time.")
        said = self.ask({"place": place, "source": source}, seconds)
        if said is None:
            return Outcome(HANGS, f"The answer did not end within {seconds:g} s.")
        return Outcome(said["outcome"], said["text"])

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Send a request and wait for its answer; None when it had to be interrupted."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        assert self.process and self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        with contextlib.suppress(queue.Empty):
            return self.read(seconds)
        with contextlib.suppress(queue.Empty):
            self.process.send_signal(signal.SIGINT)
            self.read(GRACE_SECONDS)
            return None
        self.end()
        return None

    def read(self, seconds: float) -> dict[str, Any]:
        """Return the next answer. Raises queue.Empty; an ended process says so in its place."""
        said: dict[str, Any] = json.loads(self.lines.get(timeout=seconds))
        if said.get("ended"):
            self.end()
        return said

    def start(self) -> None:
        """Start the process, and a thread that reads what it says."""
        number, path = self.notebook.number, self.notebook.path
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helpers.commands.answering", number, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.listen, args=(self.process, self.lines), daemon=True).start()

    @staticmethod
    def listen(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        """Hand on what the process says, and at its end that it has ended."""
        assert process.stdout
        for line in process.stdout:
            lines.put(line)
        words = "The answer ended the kernel."
        lines.put(json.dumps({"outcome": "raised", "text": words, "error": words, "ended": True}))

    def end(self) -> None:
        """End the process, and what it has started, at once."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Desk:
    """The child's end: runs one answer after another, each from the same state."""

    def __init__(self, trial: Trial) -> None:
        """Args: the trial of the notebook."""
        self.trial = trial

    def set_up(self, place: int) -> dict[str, Any]:
        """Run the cells above an exercise, once."""
        self.trial.set_up(place)
        return {"outcome": "ready"}

    def run(self, place: int, source: str) -> dict[str, Any]:
        """Run an answer from the names that the cells above it have left."""
        self.trial.forget(place)
        try:
            found = self.trial.answer(place, source)
            return {"outcome": found.outcome, "text": found.text}
        finally:
            self.tidy()

    def tidy(self) -> None:
        """Cancel the tasks that an answer left, and end its open transactions."""
        with contextlib.suppress(Exception):
            asyncio.get_event_loop_policy().get_event_loop().run_until_complete(cancel_tasks())
        for place in {id(p): p for p in self.places()}.values():
            with contextlib.suppress(Exception), place.connect(autocommit=True) as connection:
                connection.execute(END_WORK)

    def places(self) -> list[Place]:
        """Return the PostgreSQL databases that the notebook has taken."""
        names = self.trial.shell.user_ns.values()
        return [value for value in names if isinstance(value, PostgresPlace)]


async def cancel_tasks() -> None:
    """Cancel every other task of this loop, and wait a moment for their ends."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=2)


def serve(notebook: Notebook) -> None:
    """Read requests from standard input, a line each, and answer each with a line."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # what an answer's own processes print is not an answer
    with Trial(notebook) as trial:
        desk = Desk(trial)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if "source" in request:
                    said = desk.run(request["place"], request["source"])
                else:
                    said = desk.set_up(request["place"])
            except KeyboardInterrupt:
                said = {"outcome": HANGS, "text": ""}
            except Exception as problem:
                said = {"error": f"{type(problem).__name__}: {problem}"}
                said |= {"outcome": "not checked", "text": said["error"]}
            answers.write(json.dumps(said) + "\n")
            answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    serve(Notebook(sys.argv[1], Path(sys.argv[2])))
