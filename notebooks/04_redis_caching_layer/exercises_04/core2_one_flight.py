"""Exercise 04-2: a flight that survives its first passenger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from exercises_04.common import Source
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed


async def settle(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Wait at most 5 s for tasks; return their results and errors, "waits" for what hangs."""
    await asyncio.wait(tasks, timeout=5)
    outcomes: list[Any] = []
    for task in tasks:
        if not task.done():
            outcomes.append("waits")
            task.cancel()
        elif task.cancelled():
            outcomes.append("cancelled")
        else:
            outcomes.append(task.exception() or task.result())
    return outcomes


async def until_started(source: Source, tasks: list[asyncio.Task[Any]]) -> None:
    """Let the tasks run until the source was called, or all ended without it; at most 5 s."""
    for _ in range(1000):
        if source.runs or all(task.done() for task in tasks):
            break
        await asyncio.sleep(0.005)
    for _ in range(20):  # those who come later go as far as they can
        await asyncio.sleep(0)


STARTER = '''
waiting = {}


async def once(key, load):
    """Return the result of one load() for all who ask for the key meanwhile."""
    return ...


await ex2.check()
'''
BODY = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
        waiting[key].add_done_callback(lambda _: waiting.pop(key))
    return await asyncio.shield(waiting[key])
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
# The first one works on its own, and a cancelled worker is replaced by one of those who wait.
RETRY = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
    try:
        return await waiting[key]
    except asyncio.CancelledError:
        return await load()
    finally:
        waiting.pop(key, None)
"""
FINALLY = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
    try:
        return await asyncio.shield(waiting[key])
    finally:
        waiting.pop(key, None)
"""


async def check(once: Callable[..., Any]) -> None:
    """Ten at once; the first cancelled, then a newcomer; an error; two keys."""
    source = Source("value")
    source.gate.clear()
    tasks = [asyncio.ensure_future(once("ex2:ten", source)) for _ in range(10)]
    await until_started(source, tasks)
    source.gate.set()
    outcomes = await settle(tasks)
    reraise(outcomes)
    if source.runs != 1:
        raise Incorrect(f"Ten callers at once ran load() {source.runs} times.")
    if outcomes != ["value"] * 10:
        raise Incorrect(f"Ten callers at once got {told(outcomes)} instead of the value.")
    again = Source("newer")
    outcomes = await settle([asyncio.ensure_future(once("ex2:ten", again))])
    if outcomes != ["newer"]:
        raise Incorrect(
            f"A call after all were done got {told(outcomes)}: the old flight is still there. "
            "Take it out when the work is done."
        )
    await check_cancelled(once)
    await check_error(once)
    one, two = Source("one"), Source("two")
    pair = [asyncio.ensure_future(once(f"ex2:{s.results[0]}", s)) for s in (one, two)]
    if (outcomes := await settle(pair)) != ["one", "two"]:
        raise Incorrect(f"Two keys at once got {told(outcomes)} instead of one, two.")


async def check_cancelled(once: Callable[..., Any]) -> None:
    """Cancel the first of three callers, then let one more come."""
    source = Source("value")
    source.gate.clear()
    tasks = [asyncio.ensure_future(once("ex2:cancel", source)) for _ in range(3)]
    await until_started(source, tasks)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1], timeout=1)
    tasks.append(asyncio.ensure_future(once("ex2:cancel", source)))
    await until_started(source, tasks)
    source.gate.set()
    first, *others = await settle(tasks)
    if first != "cancelled":
        raise Incorrect("The caller who was cancelled should end with CancelledError at once.")
    if "cancelled" in others:
        raise Incorrect(
            "The first of several callers was cancelled, and the others were cancelled with it. "
            "asyncio.shield protects what you await."
        )
    if others != ["value"] * 3:
        raise Incorrect(f"After a cancellation the others got {told(others)}.")
    if source.runs != 1:
        raise Incorrect(
            f"After the first caller was cancelled, load() ran {source.runs} times in all. The "
            "work goes on: who waits, and who comes now, should share it."
        )


async def check_error(once: Callable[..., Any]) -> None:
    """Let the first load() fail under three callers, and the second succeed."""
    source = Source(OSError("the database is away"), "value")
    source.gate.clear()
    tasks = [asyncio.ensure_future(once("ex2:error", source)) for _ in range(3)]
    await until_started(source, tasks)
    source.gate.set()
    outcomes = await settle(tasks)
    if not all("the database is away" in str(outcome) for outcome in outcomes):
        raise Incorrect(f"load() failed, but its three callers got {told(outcomes)}.")
    if source.runs != 1:
        raise Incorrect(f"A failing load() ran {source.runs} times for three callers at once.")
    (outcome,) = await settle([asyncio.ensure_future(once("ex2:error", source))])
    if outcome != "value":
        raise Incorrect(
            "load() failed once, and the next call got the old error instead of trying again."
        )


def reraise(outcomes: list[Any]) -> None:
    """Raise the first error among the outcomes: it is the learner's, in words."""
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def told(outcomes: list[Any]) -> str:
    """Return outcomes in short: repeated ones once, errors by their names."""
    names = [type(o).__name__ if isinstance(o, Exception) else str(o) for o in outcomes]
    return ", ".join(dict.fromkeys(names))


EXERCISE = Exercise(
    title="A flight that survives its first passenger",
    minutes=6,
    prompt="Write once(key, load): one load() for all who wait, whoever is cancelled.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Put asyncio.ensure_future(load()) into the dict, and await it through asyncio.shield.",
        "Take it out of the dict when the work is done: add_done_callback on the future.",
        "waiting[key].add_done_callback(lambda _: waiting.pop(key)) right after it was made.",
    ],
    wrong=[
        (STARTER.replace("return ...", "return await load()"), "ran load() 10 times"),
        (changed(SOLUTION, "asyncio.shield(waiting[key])", "waiting[key]"), "with it"),
        (STARTER.replace("    return ...\n", FINALLY), "share it"),
        (STARTER.replace("    return ...\n", RETRY), "should end with CancelledError"),
        (
            changed(
                SOLUTION,
                "        waiting[key].add_done_callback(lambda _: waiting.pop(key))\n",
                "",
            ),
            "the old flight is still there",
        ),
        (
            changed(
                SOLUTION,
                "lambda _: waiting.pop(key)",
                "lambda done: done.exception() or waiting.pop(key)",
            ),
            "the old error",
        ),
    ],
    praise="This is the heart of final.py's `fetch`.",
)
