"""A caller that goes away, at each place where it can: cancellation of every await in turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, Literal

Way = Literal["task", "late", "anyio"]
#: "task": `task.cancel()`, as by asyncio.timeout or wait_for, as the wait begins. "late": the same,
#: at the moment in which the wait has ended and the task does not know it yet. "anyio": a cancel
#: scope, as in Starlette, which cancels every wait from then on, also those that clean up.
WAYS: tuple[Way, ...] = ("task", "late", "anyio")
LOOK = 0.01  # seconds between two looks at the server


@dataclass
class Walk:
    """What a walk found: how many places it cancelled at, and a line for each fault."""

    places: int = 0
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0  #: seconds from a cancellation until nothing of the call was left


class Steps:
    """Awaits some work, and says so to `hit` when it suspends for the k-th time."""

    def __init__(self, work: Coroutine[Any, Any, Any], k: int, hit: Callable[[Any], None]) -> None:
        self.work, self.k, self.hit = work, k, hit
        self.count = 0
        self.place = "?"

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
                self.place = where(self.work)
                self.hit(waits)
            try:
                value = yield waits
            except BaseException as raised:
                problem = raised


def where(work: Any) -> str:
    """Return the lines on which a coroutine and those that it awaits stand, the last two."""
    found: list[str] = []
    while (frame := getattr(work, "cr_frame", None)) is not None:
        found.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        work = work.cr_await
    return " > ".join(found[:1] + found[1:][-2:]) or "?"


async def _cancelled_once(
    work: Callable[[], Coroutine[Any, Any, Any]], k: int, way: Way
) -> tuple[Steps, bool, Any]:
    """Run the work and cancel it at its k-th wait: the steps, whether it ended so, its answer."""
    task = asyncio.current_task()
    assert task

    def hit(waits: Any) -> None:
        if way == "late" and asyncio.isfuture(waits):
            waits.add_done_callback(lambda _: task.cancel())  # comes before the task's own
        else:
            task.cancel()

    if way != "anyio":
        steps = Steps(work(), k, hit)
        try:
            return steps, False, await steps
        except asyncio.CancelledError:
            return steps, True, None
    import anyio

    with anyio.CancelScope() as scope:
        steps = Steps(work(), k, lambda _: scope.cancel())
        return steps, False, await steps
    return steps, True, None


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
        task = asyncio.create_task(_cancelled_once(work, k, way))
        began = time.monotonic()
        done, _ = await asyncio.wait({task}, timeout=limit)
        name = f"at wait {k}"
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=limit)
            found.faults.append(f"{name}: it did not end within {limit:g} s")
            found.places = k
            continue
        try:
            steps, ended, answer = task.result()
        except asyncio.CancelledError:
            steps, ended, answer = None, True, None
        except Exception as problem:
            found.faults.append(f"{name}: {type(problem).__name__} came out instead: {problem}")
            steps, ended, answer = None, True, None
        if steps is not None:
            if steps.count < k:
                return found  # it came to its end
            name += f" ({steps.place})"
        found.places = k
        # With anyio a call may end well when it waits for nothing more: that is no fault.
        if not ended and way != "anyio":
            found.faults.append(f"{name}: the cancellation was swallowed, it returned {answer!r}")
        found.faults += [f"{name}: {fault}" for fault in await _left(busy, again, limit)]
        found.slowest = max(found.slowest, time.monotonic() - began)
    raise RuntimeError(f"there are more than {most} waits")


async def _left(
    busy: Callable[[], Any], again: Callable[[], Awaitable[Any]] | None, limit: float
) -> list[str]:
    """Return what a cancelled call has left behind."""
    faults, deadline = [], time.monotonic() + limit
    while left := await asyncio.to_thread(busy):
        if time.monotonic() > deadline:
            faults.append(f"still on the server after {limit:g} s: {left}")
            break
        await asyncio.sleep(LOOK)
    if again:
        try:
            await asyncio.wait_for(again(), limit)
        except TimeoutError:
            faults.append(f"afterwards: no connection or no answer within {limit:g} s")
        except Exception as problem:
            faults.append(f"afterwards: {type(problem).__name__}: {problem}")
    return faults


def survives_cancellation(
    work: Callable[[], Coroutine[Any, Any, Any]],
    *,
    busy: Callable[[], Any],
    again: Callable[[], Awaitable[Any]] | None = None,
    finish: Callable[[], Awaitable[Any]] | None = None,
    way: Way = "task",
    limit: float = 5.0,
) -> Walk:
    """Assert that a walk finds no fault, in an event loop of its own. See `walk`.

    `finish` is awaited at the end, such as `engine.dispose`. A work that never waits is no
    subject for this, and fails.
    """

    async def main() -> Walk:
        try:
            return await walk(work, busy=busy, again=again, way=way, limit=limit)
        finally:
            if finish:
                await finish()

    found = asyncio.run(main())
    assert found.places, "the work waits for nothing: it cannot be cancelled"
    lines = "\n".join(found.faults[:8])
    assert not found.faults, f"{way}: {len(found.faults)} faults at {found.places} waits\n{lines}"
    return found
