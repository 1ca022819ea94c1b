"""The same call by two processes at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: Gets a line with the URL and the program; makes ready; gets a line with the moment to begin.
RUNNER = """
import asyncio, inspect, json, sys, time
answers, sys.stdout = sys.stdout, sys.stderr
def say(**what): print(json.dumps(what, default=str), file=answers, flush=True)
space, error, result, began = {"__name__": "drill"}, None, None, 0.0
try:
    order = json.loads(sys.stdin.readline())
    space["url"], space["number"] = order["url"], order["number"]
    exec(compile(order["program"], "program", "exec"), space)
    say(ready=True)
    moment = float(sys.stdin.readline())
    while (left := moment - time.time()) > 0:
        time.sleep(max(0, left - 0.002))
    began = time.time()
    answer = space["main"]()
    result = asyncio.run(answer) if inspect.iscoroutine(answer) else answer
except BaseException as problem:
    error = f"{type(problem).__name__}: {problem}"
say(result=result, error=error, began=began, ended=time.time())
"""
AHEAD = 0.03  # seconds from the word to the beginning: for both to have heard it


@dataclass(frozen=True)
class Said:
    """What one process came to. Times are of the machine's clock, in seconds."""

    result: Any  #: what `main` returned, after a trip through JSON
    error: str | None  #: the exception's type and text
    began: float
    ended: float


def overlap(said: Sequence[Said]) -> float:
    """Return for how many seconds all ran at once. Below 0, they did not."""
    return min(one.ended for one in said) - max(one.began for one in said)


def twice(
    program: str,
    url: str,
    *,
    folder: Path | None = None,
    times: int = 2,
    seconds: float = 60.0,
) -> list[Said]:
    """Run a program in two processes whose `main()` begin at the same moment.

    Args:
        program: Python. It finds `url` and `number` (0 or 1), makes everything ready, and
            defines `main`, which may be async. What it prints goes to standard error.
        folder: where it runs, so that it can import a final file that lies there.
        times: how many processes, when two are not enough.
        seconds: how long all of it may take.

    Raises RuntimeError when a process ends without an answer, or at the end of the time.
    """
    command = [sys.executable, "-c", RUNNER]
    running = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        for _ in range(times)
    ]

    def end() -> None:
        for process in running:
            process.kill()

    limit = threading.Timer(seconds, end)
    limit.start()
    try:
        for number, process in enumerate(running):  # by a pipe: a command line is for all to read
            _tell(process.stdin, json.dumps({"url": url, "program": program, "number": number}))
        first = [_hear(process.stdout) for process in running]
        # One that failed while it made ready tells so at once.
        waiting = [p for p, said in zip(running, first, strict=True) if "ready" in said]
        moment = time.time() + AHEAD
        for process in waiting:
            _tell(process.stdin, repr(moment))
        last = [
            _hear(process.stdout) if process in waiting else said
            for process, said in zip(running, first, strict=True)
        ]
        return [Said(**said) for said in last]
    finally:
        limit.cancel()
        for process in running:
            process.kill()
            process.communicate()


def _tell(pipe: IO[str] | None, line: str) -> None:
    assert pipe
    try:
        pipe.write(line + "\n")
        pipe.flush()
    except OSError:
        raise RuntimeError("a process ended before it began") from None


def _hear(pipe: IO[str] | None) -> dict[str, Any]:
    assert pipe
    if not (line := pipe.readline()):
        raise RuntimeError("a process ended, or did not answer in time")
    found: dict[str, Any] = json.loads(line)
    return found
