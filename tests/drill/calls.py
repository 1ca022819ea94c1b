"""Callers of a function while its server has trouble: what each got, and how long it waited."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

#: How often the callers are looked at, in seconds.
LOOK = 0.005


@dataclass
class Outcome:
    """What happened to all calls together. Times are in seconds.

    A caller that hangs is one whose call had not ended when the time was over. Its wait counts
    for `longest` as far as it came, and its call is in neither `answers` nor `errors`.
    """

    answers: int = 0
    errors: Counter[str] = field(default_factory=Counter)  #: by the exception's type
    after: int = 0  #: answers to calls that began when the trouble was over
    hanging: int = 0  #: callers
    longest: float = 0.0
    examples: dict[str, BaseException] = field(default_factory=dict)  #: the first of each type

    def __str__(self) -> str:
        errors = ", ".join(f"{count} {name}" for name, count in self.errors.most_common())
        return (
            f"{self.answers} answers ({self.after} after the trouble), errors: {errors or 'none'},"
            f" {self.hanging} hanging, longest wait {self.longest:.2f} s"
        )


class Crowd:
    """What callers in several threads or tasks have told so far."""

    def __init__(self, callers: int) -> None:
        self.outcome = Outcome()
        self.answered: set[int] = set()
        self.since: dict[int, float] = {}  # when the call began that a caller waits for
        self.over: float | None = None  # when the trouble was over
        self.until: float | None = None  # no call begins after this
        self.lock = threading.Lock()
        self.left = callers

    def begin(self, caller: int) -> bool:
        """Note that a caller calls; False when it is to stop."""
        now = time.monotonic()
        with self.lock:
            # Everybody calls once at least.
            if caller in self.answered and self.until is not None and now >= self.until:
                return False
            self.since[caller] = now
            return True

    def end(self, caller: int, error: BaseException | None = None) -> None:
        """Note what a caller got."""
        now = time.monotonic()
        with self.lock:
            began, outcome = self.since.pop(caller, now), self.outcome
            self.answered.add(caller)
            outcome.longest = max(outcome.longest, now - began)
            if error is not None:
                outcome.errors[type(error).__name__] += 1
                outcome.examples.setdefault(type(error).__name__, error)
                return
            outcome.answers += 1
            outcome.after += self.over is not None and began >= self.over

    def leave(self) -> None:
        with self.lock:
            self.left -= 1

    def close(self) -> Outcome:
        """Return the outcome as it is now; what still hangs is counted so."""
        now = time.monotonic()
        with self.lock:
            outcome = self.outcome
            outcome.hanging = len(self.since)
            waits = [now - began for began in self.since.values()]
            outcome.longest = max([outcome.longest, *waits])
            self.outcome = Outcome()  # what comes later tells nobody
            return outcome


def callers(
    n: int,
    function: Callable[[], Any],
    seconds: float,
    *,
    meanwhile: Callable[[], Any] | None = None,
    patience: float = 5.0,
    finish: Callable[[], Awaitable[Any]] | None = None,
) -> Outcome:
    """Let n callers call a function again and again, and tell what they got.

    Args:
        n: threads; or tasks of one event loop, in a thread of its own, for an async function.
        function: takes no arguments. An exception of it is an outcome, not a failure.
        seconds: how long calls go on, from the end of `meanwhile`. 0 is one call each.
        meanwhile: the trouble, such as `server.restart`. It begins when every caller has had
            its first answer or error, or hangs for `patience`; it runs in the caller's thread.
        patience: how long, in seconds, a call may take after that before it counts as hanging.
        finish: awaited in the tasks' loop at the end, such as `engine.dispose`.

    Raises what `meanwhile` raises.
    """
    crowd = Crowd(n)
    if meanwhile is None:
        crowd.until = time.monotonic() + seconds
    threads = []
    if inspect.iscoroutinefunction(function):
        threads.append(threading.Thread(target=_tasks, args=(crowd, n, function, finish)))
    else:
        for caller in range(n):
            threads.append(threading.Thread(target=_calls, args=(crowd, caller, function)))
    for thread in threads:
        thread.daemon = True  # one that hangs must not hold the tests
        thread.start()
    try:
        if meanwhile:
            _wait(lambda: len(crowd.answered) == n, patience)
            meanwhile()
            crowd.over = time.monotonic()
    finally:
        crowd.until = crowd.until or time.monotonic() + seconds
    _wait(lambda: crowd.left == 0, seconds + patience)
    outcome = crowd.close()
    if inspect.iscoroutinefunction(function):
        crowd.left = -1  # the sign for the loop to end its tasks
        threads[0].join(patience)
    return outcome


def once(function: Callable[[], Any], limit: float) -> Outcome:
    """Call a function once, and see whether it ends within `limit` seconds."""
    return callers(1, function, 0, patience=limit)


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(LOOK)


def _calls(crowd: Crowd, caller: int, function: Callable[[], Any]) -> None:
    while crowd.begin(caller):
        try:
            if inspect.iscoroutine(work := function()):
                work.close()
                raise TypeError("an async function, not one that returns a coroutine")
        except BaseException as problem:
            crowd.end(caller, problem)
        else:
            crowd.end(caller)
    crowd.leave()


def _tasks(
    crowd: Crowd,
    n: int,
    function: Callable[[], Awaitable[Any]],
    finish: Callable[[], Awaitable[Any]] | None,
) -> None:
    async def one(caller: int) -> None:
        while crowd.begin(caller):
            try:
                await function()
            except asyncio.CancelledError as problem:
                if crowd.left < 0:
                    raise
                crowd.end(caller, problem)
            except Exception as problem:
                crowd.end(caller, problem)
            else:
                crowd.end(caller)
            await asyncio.sleep(0)  # a function that never waits lets the others call too
        crowd.leave()

    async def main() -> None:
        tasks = {asyncio.create_task(one(caller)) for caller in range(n)}
        pending = tasks
        while pending and crowd.left >= 0:
            _, pending = await asyncio.wait(pending, timeout=LOOK)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks, timeout=1)
        if finish:
            await finish()

    asyncio.run(main())
