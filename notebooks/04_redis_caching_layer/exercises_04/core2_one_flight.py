"""Exercise 04-2: a flight that survives its first passenger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from exercises_04.common import PATIENCE, Source, shown, was_cancelled
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed


async def settle(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Wait for tasks; return their results and errors, "waits" for what hangs."""
    await asyncio.wait(tasks, timeout=PATIENCE)
    outcomes: list[Any] = []
    for task in tasks:
        if not task.done():
            outcomes.append("waits")
            task.cancel()
        elif was_cancelled(task):
            outcomes.append("cancelled")
        else:
            outcomes.append(task.exception() or task.result())
    return outcomes


async def until_started(source: Source, tasks: list[asyncio.Task[Any]]) -> None:
    """Let the tasks run until the source was called, or all ended without it."""
    end = time.monotonic() + PATIENCE
    while not source.runs and not all(task.done() for task in tasks) and time.monotonic() < end:
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
# Only the first caller tidies up. When it is cancelled, nobody does.
FIRST = """\
    if key in waiting:
        return await asyncio.shield(waiting[key])
    waiting[key] = asyncio.ensure_future(load())
    try:
        value = await asyncio.shield(waiting[key])
    except Exception:
        waiting.pop(key)
        raise
    waiting.pop(key)
    return value
"""
# The work tidies up after itself.
INSIDE = """\
    async def work():
        try:
            return await load()
        finally:
            del waiting[key]

    if key not in waiting:
        waiting[key] = asyncio.create_task(work())
    return await asyncio.shield(waiting[key])
"""
FINALLY = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
    try:
        return await asyncio.shield(waiting[key])
    finally:
        waiting.pop(key, None)
"""


def ask(once: Callable[..., Any], key: Any, source: Source, count: int) -> list[Any]:
    """Start so many callers at once."""
    return [asyncio.ensure_future(once(key, source)) for _ in range(count)]


async def check(once: Callable[..., Any]) -> None:
    """Ten at once; some of them cancelled; errors; two keys."""
    for result in ["value", None, 0]:
        await check_ten(once, result)
    for first in (1, 3):
        await check_cancelled(once, first)
    await check_all_gone(once)
    await check_error(once, cancel=False)
    await check_error(once, cancel=True)
    one, two = Source("one"), Source("two")
    one.gate.clear()
    slow = ask(once, ("ex2", 1), one, 1)
    await until_started(one, slow)
    outcomes = await settle(ask(once, ("ex2", 2), two, 1))
    one.gate.set()
    if (outcomes := await settle(slow) + outcomes) != ["one", "two"]:
        raise Incorrect(
            f"Two keys at once got {told(outcomes)} instead of one, two. Each key has its own "
            "work, and waits for no other."
        )


async def check_ten(once: Callable[..., Any], result: Any) -> None:
    """Let ten callers ask at once, and one when all are done."""
    source = Source(result)
    source.gate.clear()
    tasks = ask(once, f"ex2:{result}", source, 10)
    await until_started(source, tasks)
    source.gate.set()
    outcomes = await settle(tasks)
    reraise(outcomes)
    if source.runs != 1:
        raise Incorrect(f"Ten callers at once ran load() {source.runs} times.")
    if outcomes != [result] * 10:
        raise Incorrect(
            f"load() returned {result!r}. Ten callers at once got {told(outcomes)} instead."
        )
    outcomes = await settle(ask(once, f"ex2:{result}", Source("newer"), 1))
    if outcomes != ["newer"]:
        raise Incorrect(
            f"A call after all were done got {told(outcomes)}: the old flight is still there. "
            "Take it out when the work is done."
        )


async def check_cancelled(once: Callable[..., Any], first: int) -> None:
    """Cancel the first of several callers, then let one more come; ask again when all is done."""
    source, key = Source("value", "newer"), f"ex2:cancel {first}"
    source.gate.clear()
    tasks = ask(once, key, source, first + 2)
    await until_started(source, tasks)
    for task in tasks[:first]:
        task.cancel()
    await asyncio.wait(tasks[:first], timeout=PATIENCE / 10)
    if not all(task.done() for task in tasks[:first]):
        source.gate.set()
        await settle(tasks)
        raise Incorrect("A caller who was cancelled should go at once. This one still waits.")
    tasks += ask(once, key, source, 1)
    await until_started(source, tasks)
    source.gate.set()
    outcomes = await settle(tasks)
    gone, others = outcomes[:first], outcomes[first:]
    if gone != ["cancelled"] * first:
        raise Incorrect("The caller who was cancelled should end with CancelledError at once.")
    if "cancelled" in others:
        raise Incorrect(
            "The first of several callers was cancelled, and the others were cancelled with it. "
            "asyncio.shield protects what you await."
        )
    if source.runs != 1:
        raise Incorrect(
            f"After the first caller was cancelled, load() ran {source.runs} times in all. The "
            "work goes on: who waits, and who comes now, should share it."
        )
    if others != ["value"] * 3:
        raise Incorrect(f"After a cancellation the others got {told(others)}.")
    if await settle(ask(once, key, source, 1)) != ["newer"]:
        raise Incorrect(
            "The first caller was cancelled, the work ended, and a later call did not run load() "
            "again: the flight stays for ever. Its end must not depend on one of the callers."
        )


async def check_all_gone(once: Callable[..., Any]) -> None:
    """Cancel everybody; when the work has ended, somebody asks again."""
    source = Source("value", "newer")
    source.gate.clear()
    tasks = ask(once, "ex2:gone", source, 2)
    await until_started(source, tasks)
    for task in tasks:
        task.cancel()
    await settle(tasks)
    source.gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
    outcomes = await settle(ask(once, "ex2:gone", source, 1))
    if outcomes != ["newer"]:
        raise Incorrect(
            "All callers were cancelled, the work ended, and the next call got "
            f"{told(outcomes)}. It should run load() again."
        )


async def check_error(once: Callable[..., Any], *, cancel: bool) -> None:
    """Let the first load() fail under three callers, and the second succeed."""
    source, key = Source(OSError("the database is away"), "value"), f"ex2:error {cancel}"
    source.gate.clear()
    tasks = ask(once, key, source, 3)
    await until_started(source, tasks)
    if cancel:
        tasks[0].cancel()
        await settle(tasks[:1])
    source.gate.set()
    outcomes = (await settle(tasks))[1:]
    if not all("the database is away" in str(outcome) for outcome in outcomes):
        raise Incorrect(f"load() failed, but those who waited for it got {told(outcomes)}.")
    if source.runs != 1:
        raise Incorrect(f"A failing load() ran {source.runs} times for three callers at once.")
    (outcome,) = await settle(ask(once, key, source, 1))
    if outcome != "value":
        raise Incorrect(
            "load() failed once, and the next call got the old error instead of trying again."
        )


def reraise(outcomes: list[Any]) -> None:
    """Raise the first error among the outcomes: it is the learner's, in words."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def told(outcomes: list[Any]) -> str:
    """Return outcomes in short: repeated ones once, errors by their names."""
    names = [type(o).__name__ if isinstance(o, BaseException) else o for o in outcomes]
    names = [name if isinstance(name, str) else shown(name) for name in names]
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
        (STARTER.replace("    return ...\n", RETRY), "should go at once"),
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
        (STARTER.replace("    return ...\n", FIRST), "stays for ever"),
        (
            changed(
                SOLUTION, "if key not in waiting", "if not waiting", "[key]", "[0]", "(key)", "(0)"
            ),
            "Each key has its own work",
        ),
        (
            STARTER.replace("    return ...\n", "    raise asyncio.CancelledError\n"),
            "ran load() 0 times",
        ),
    ],
    right=[STARTER.replace("    return ...\n", INSIDE)],
    praise="This is the heart of cache.py's `fetch`.",
)
