"""A caller that goes away, at each place where it can: cancellation of every await in turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

Way = Literal["task", "late", "anyio"]
#: "task": `task.cancel()`, as by asyncio.timeout or wait_for, as the wait begins. "late": the same,
#: at the moment in which the wait has ended and the task does not know it yet. "anyio": a cancel
#: scope, as in Starlette, which cancels every wait from then on, also those that clean up.
WAYS: tuple[Way, ...] = ("task", "late", "anyio") if find_spec("anyio") else ("task", "late")
LOOK = 0.01  # seconds between two looks at the server


@dataclass
class Walk:
    """What a walk found: how many places it cancelled at, and a line for each fault."""

    places: int = 0
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0  #: seconds from a cancellation until nothing of the call was left


class Steps:
    """Awaits some work, and calls `cancel` when it suspends for the k-th time; 0 is never."""

    def __init__(self, work: Coroutine[Any, Any, Any], k: int, way: Way) -> None:
        self.work, self.k, self.way = work, k, way
        self.count = 0
        self.place = "?"
        self.cancel: Callable[[], object] = lambda: None

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        problem: BaseException | None = None
        while True:
            try:
                waits = self.work.throw(problem) if problem else self.work.send(value)
            except StopIteration as end:
                return end.value
            value = problem = None
            self.count += 1
            if self.count == self.k:
                self.hit(waits)
            try:
                value = yield waits
            except BaseException as raised:
                problem = raised

    def hit(self, waits: Any) -> None:
        self.place = where(self.work)
        if self.way == "late" and asyncio.isfuture(waits):
            waits.add_done_callback(lambda _: self.cancel())  # comes before the task's own
        else:
            self.cancel()


def where(work: Any) -> str:
    """Return the lines on which a coroutine and those that it awaits stand, the outermost three."""
    found: list[str] = []
    while (frame := getattr(work, "cr_frame", None)) is not None:
        found.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        work = work.cr_await
    return " > ".join(found[:3]) or "?"


async def _run(steps: Steps) -> tuple[bool, Any]:
    """Run the work: whether a cancellation ended it, and what it returned."""
    task = asyncio.current_task()
    assert task
    if steps.way != "anyio":
        steps.cancel = task.cancel
        try:
            return False, await steps
        except asyncio.CancelledError:
            return True, None
    import anyio

    with anyio.CancelScope() as scope:
        steps.cancel = scope.cancel
        return False, await steps
    return True, None


async def _faults(steps: Steps, task: asyncio.Task[tuple[bool, Any]], limit: float) -> list[str]:
    """Wait for the end of work that is to be cancelled, and return what was wrong with it."""
    if not (await asyncio.wait({task}, timeout=limit))[0]:
        task.cancel()
        await asyncio.wait({task}, timeout=limit)
        return [f"it did not end within {limit:g} s"]
    try:
        ended, answer = task.result()
    except asyncio.CancelledError:
        return []
    except Exception as problem:
        return [f"{type(problem).__name__} came out instead: {problem}"]
    # With a scope a call may end well when it waits for nothing more: that is no fault.
    if ended or steps.way == "anyio" or steps.count < steps.k:
        return []
    return [f"the cancellation was swallowed, it returned {answer!r}"]


async def walk(
    work: Callable[[], Coroutine[Any, Any, Any]],
    *,
    busy: Callable[[], Any],
    again: Callable[[], Awaitable[Any]] | None = None,
    way: Way = "task",
    limit: float = 5.0,
    most: int = 300,
) -> Walk:
    """Run some work again and again, cancelled at its first wait, its second, … to its end.

    Waits inside tasks that the work starts are not its own, and are left alone.

    Args:
        work: gives a new coroutine at each call. It must be able to run any number of times.
        busy: what is left of it on the server: `busy(url)`. Called in a thread; may be untrue
            for `limit` seconds after a cancellation.
        again: awaited after each cancellation, within `limit`: takes every connection of the
            pool at once, and asserts that what is stored is whole.
        way: see WAYS.
        limit: seconds that ending, being idle on the server and `again` may take, each.
        most: how many places there may be.

    Raises RuntimeError when the work has more places, or fails when nothing disturbs it.
    """
    found = Walk()
    for k in range(1, most + 1):
        steps, began = Steps(work(), k, way), time.monotonic()
        task = asyncio.create_task(_run(steps))
        faults = await _faults(steps, task, limit)
        if steps.count < k:
            if faults and not found.faults:  # else it is what an earlier cancellation left
                raise RuntimeError(f"undisturbed, after {steps.count} waits: {faults[0]}")
            return found
        found.places = k
        faults += await _left(busy, again, limit)
        found.faults += [f"at wait {k} ({steps.place}): {fault}" for fault in faults]
        found.slowest = max(found.slowest, time.monotonic() - began)
    raise RuntimeError(f"there are more than {most} waits")


async def cancelled_while(
    work: Callable[[], Coroutine[Any, Any, Any]],
    *,
    until: Callable[[], Any],
    busy: Callable[[], Any],
    again: Callable[[], Awaitable[Any]] | None = None,
    way: Way = "task",
    limit: float = 5.0,
    times: int = 2,
) -> Walk:
    """Cancel some work, several times, while the server is at it: in a long statement, at a lock.

    Args:
        until: seen from the server, the work is there: `blocked(url)`. Called in a thread.
        way: "task" or "anyio".

    The others are those of `walk`. Raises RuntimeError when the work does not come so far.
    """
    found = Walk()
    for number in range(1, times + 1):
        steps = Steps(work(), 0, way)
        task = asyncio.create_task(_run(steps))
        deadline = time.monotonic() + limit
        while not await asyncio.to_thread(until):
            if task.done() or time.monotonic() > deadline:
                task.cancel()
                raise RuntimeError("the server was not seen at work for it")
            await asyncio.sleep(LOOK)
        began, steps.place = time.monotonic(), where(steps.work)
        steps.cancel()
        faults = await _faults(steps, task, limit)
        faults += await _left(busy, again, limit)
        found.places = number
        found.faults += [f"time {number} ({steps.place}): {fault}" for fault in faults]
        found.slowest = max(found.slowest, time.monotonic() - began)
    return found


async def _left(
    busy: Callable[[], Any], again: Callable[[], Awaitable[Any]] | None, limit: float
) -> list[str]:
    """Return what a cancelled call has left behind."""
    faults = await _quiet(busy, limit)
    if again:
        try:
            await asyncio.wait_for(again(), limit)
        except TimeoutError:
            faults.append(f"afterwards: no connection or no answer within {limit:g} s")
        except Exception as problem:
            faults.append(f"afterwards: {type(problem).__name__}: {problem}")
    # Once more: what goes on without its caller may have begun only now.
    return faults or await _quiet(busy, limit)


async def _quiet(busy: Callable[[], Any], limit: float) -> list[str]:
    """Wait until nothing is left on the server; return what is there after `limit` seconds."""
    deadline = time.monotonic() + limit
    while left := await asyncio.to_thread(busy):
        if time.monotonic() > deadline:
            return [f"still on the server after {limit:g} s: {left}"]
        await asyncio.sleep(LOOK)
    return []


def survives_cancellation(
    work: Callable[[], Coroutine[Any, Any, Any]],
    *,
    busy: Callable[[], Any],
    until: Callable[[], Any] | None = None,
    again: Callable[[], Awaitable[Any]] | None = None,
    finish: Callable[[], Awaitable[Any]] | None = None,
    way: Way = "task",
    limit: float = 5.0,
) -> Walk:
    """Assert that `walk`, or with `until` `cancelled_while`, finds no fault, in a loop of its own.

    `finish` is awaited at the end, such as `engine.dispose`. A work that never waits is no
    subject for this, and fails.
    """

    async def main() -> Walk:
        try:
            if until is None:
                return await walk(work, busy=busy, again=again, way=way, limit=limit)
            return await cancelled_while(
                work, until=until, busy=busy, again=again, way=way, limit=limit
            )
        finally:
            if finish:
                await finish()

    found = asyncio.run(main())
    assert found.places, "the work waits for nothing: it cannot be cancelled"
    lines = "\n".join(found.faults[:8])
    assert not found.faults, f"{way}: {len(found.faults)} faults at {found.places} waits\n{lines}"
    return found
