"""The exercises of lesson 04's core: caching None, one flight for all, when to come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    changed,
    lesson_04_deeper,
    lesson_04_more,
)

Loader = Callable[[], Awaitable[Any]]


def setup() -> dict[str, Any]:
    """Do what the notebook's cells before the exercises do, as far as the exercises need it."""
    import uuid

    import redis.asyncio as redis

    from helpers import check, lab

    rd = lab.redis("04")
    client = redis.from_url(rd.url, decode_responses=True)
    names = {"rd": rd, "redis": redis, "client": client, "lab": lab, "check": check}
    return names | {"asyncio": asyncio, "json": json, "uuid": uuid}


class Source:
    """A slow function for checks: it counts its runs and goes on only when it is told to."""

    def __init__(self, *results: Any) -> None:
        """Args: what each run returns or raises, in turn; the last one again and again."""
        self.results = list(results)
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        """Run once."""
        self.runs += 1
        result = self.results[min(self.runs, len(self.results)) - 1]
        await self.gate.wait()
        if isinstance(result, Exception):
            raise result
        return result


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


# Exercise 1: nothing is an answer too.

STARTER_1 = '''
client = redis.from_url(rd.url, decode_responses=True)


async def read_through(key, load, ttl, ttl_none):
    """Return the value of key from Redis, or else from load()."""
    return ...


await ex1.check()
'''
BODY_1 = """\
    stored = await client.get(key)
    if stored is not None:
        return json.loads(stored)
    value = await load()
    await client.set(key, json.dumps(value), ex=ttl_none if value is None else ttl)
    return value
"""
SOLUTION_1 = STARTER_1.replace("    return ...\n", BODY_1)


async def check_read_through(rd: Database, read_through: Callable[..., Any]) -> None:
    """Read values of every kind twice: the second must come from Redis, and have its TTL."""
    with rd.connect() as redis:
        for value in [["a", 1], {"price": "1.99"}, "text", 0, "", [], False, None]:
            key = "ex1:key"
            redis.delete(key)
            source = Source(value)
            first = await read_through(key, source, 100, 10)
            if first != value or type(first) is not type(value):
                raise Incorrect(f"The first call should return {value!r}; it returned {first!r}.")
            if not redis.exists(key):
                raise Incorrect(f"After load() returned {value!r}, nothing is stored under key.")
            try:
                kept = json.loads(redis.get(key) or "")
            except ValueError:
                kept = ...
            if kept != value or type(kept) is not type(value):
                raise Incorrect(
                    f"What is stored for {value!r} is not its JSON: {redis.get(key)!r}."
                )
            seconds, wanted = redis.ttl(key), 10 if value is None else 100
            if seconds == -1:
                raise Incorrect(f"{value!r} is stored without a TTL: it would stay for ever.")
            if not wanted - 9 <= seconds <= wanted:
                raise Incorrect(f"{value!r} is stored for {seconds} s; it should be {wanted} s.")
            second = await read_through(key, source, 100, 10)
            if source.runs > 1:
                raise Incorrect(
                    f"For {value!r} the second call ran load() again. Ask whether Redis has the "
                    "key, not whether the value is true or None."
                )
            if second != value or type(second) is not type(value):
                raise Incorrect(f"The second call returned {second!r} instead of {value!r}.")
        redis.delete("ex1:key")


# Exercise 2: one flight for all.

STARTER_2 = '''
waiting = {}


async def once(key, load):
    """Return the result of one load() for all who ask for the key meanwhile."""
    return ...


await ex2.check()
'''
BODY_2 = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
        waiting[key].add_done_callback(lambda _: waiting.pop(key))
    return await asyncio.shield(waiting[key])
"""
SOLUTION_2 = STARTER_2.replace("    return ...\n", BODY_2)
# The first one works on its own, and a cancelled worker is replaced by one of those who wait.
RETRY_2 = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
    try:
        return await waiting[key]
    except asyncio.CancelledError:
        return await load()
    finally:
        waiting.pop(key, None)
"""
FINALLY_2 = """\
    if key not in waiting:
        waiting[key] = asyncio.ensure_future(load())
    try:
        return await asyncio.shield(waiting[key])
    finally:
        waiting.pop(key, None)
"""


async def check_once(once: Callable[..., Any]) -> None:
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


# Exercise 3: when may I come back?

STARTER_3 = '''
WAIT = """
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)  -- milliseconds
    local limit, window, name = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
    return nil  -- your lines go here
"""


async def wait(key, limit, window):
    """Return 0, or the milliseconds to wait; window is in milliseconds."""
    return await client.eval(WAIT, 1, key, limit, window, str(uuid.uuid4()))


await ex3.check()
'''
LINES_3 = """\
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
    if redis.call('ZCARD', KEYS[1]) >= limit then
        local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
        return oldest[2] + window - now
    end
    redis.call('ZADD', KEYS[1], now, name)
    redis.call('PEXPIRE', KEYS[1], window)
    return 0
"""
SOLUTION_3 = STARTER_3.replace("    return nil  -- your lines go here\n", LINES_3)
COUNTS_3 = """\
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
    redis.call('ZADD', KEYS[1], now, name)
    redis.call('PEXPIRE', KEYS[1], window)
    if redis.call('ZCARD', KEYS[1]) <= limit then return 0 end
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return oldest[2] + window - now
"""
# Counts the right ones, but never removes one.
KEEPS_3 = """\
    if redis.call('ZCOUNT', KEYS[1], now - window, '+inf') >= limit then
        local oldest = redis.call('ZRANGE', KEYS[1], now - window, '+inf', 'BYSCORE', 'LIMIT', 0, 1,
            'WITHSCORES')
        return oldest[2] + window - now
    end
    redis.call('ZADD', KEYS[1], now, name)
    redis.call('PEXPIRE', KEYS[1], window)
    return 0
"""


async def check_wait(rd: Database, wait: Callable[..., Any]) -> None:
    """Thirty at once for a limit of ten; the wait that is told; a window that slides."""
    from helpers.exercises import NotAttempted

    key, window = "ex3:key", 60_000
    with rd.connect() as redis:
        redis.delete(key, "ex3:other")
        first = await wait(key, 10, window)
        if first is None:
            raise NotAttempted("The script returns nothing yet.")
        if redis.type(key) not in ("zset", "none"):
            raise Incorrect("Keep the moments in a sorted set under KEYS[1], as above.")
        answers = [first, *await asyncio.gather(*(wait(key, 10, window) for _ in range(29)))]
        if not all(isinstance(answer, int) for answer in answers):
            raise Incorrect(f"wait() should return whole numbers; it returned {answers[-1]!r}.")
        passed, kept = answers.count(0), redis.zcard(key)
        if 0 < kept < passed:
            raise Incorrect(
                f"{passed} requests passed, but the set has {kept} entries: requests in the same "
                "millisecond have the same name in it. Use the name that is passed in."
            )
        if passed != 10:
            raise Incorrect(f"Of 30 requests at once {passed} may pass; the limit is 10.")
        if kept != 10:
            raise Incorrect(
                f"After 10 accepted and 20 refused requests the set has {kept} entries. "
                "A refused request must not count: who tries again and again never gets in."
            )
        if (left := redis.pttl(key)) == -1:
            raise Incorrect("The key has no TTL: the set of every customer would stay for ever.")
        if left > 10 * window:
            raise Incorrect(f"The window is 60 s, but the key stays for {left // 1000:,} s.")
        if await wait("ex3:other", 10, window) != 0:
            raise Incorrect("Another key is limited too. Use KEYS[1].")
        # The oldest request moves 20 s into the past, the others 5 s: 40 s to wait.
        members = redis.zrange(key, 0, -1)
        for member, back in zip(members, [20_000] + [5_000] * 9, strict=True):
            redis.zincrby(key, -back, member)
        told_wait = await wait(key, 10, window)
        if not 30_000 <= told_wait <= 40_000:
            raise Incorrect(
                "The oldest accepted request was 20 s ago, and the window is 60 s. The next one "
                f"can pass in 40,000 ms; the answer is {told_wait:,}."
            )
        redis.zincrby(key, -40_001, members[0])  # more than 60 s ago
        redis.pexpire(key, 20_000)
        if await wait(key, 10, window) != 0:
            raise Incorrect("The oldest request has left the window, but no new one may pass.")
        if redis.zcard(key) != 10:
            raise Incorrect("Requests that have left the window stay in the set, which grows.")
        if redis.pttl(key) < window - 10_000:
            raise Incorrect(
                "A request passed, and the key ends before that request leaves the window: the "
                "set forgets it too early. Renew the TTL with each accepted request."
            )
        redis.delete(key, "ex3:other")


EXERCISES = [
    Exercise(
        number=1,
        title="Nothing is an answer too",
        prompt="Write a read_through that caches None as well, for a shorter time.",
        setup=setup,
        starter=STARTER_1,
        solution=SOLUTION_1,
        check=check_read_through,
        hints=[
            "client.get(key) returns None only when Redis does not have the key.",
            "Look at the stored text before json.loads: `if stored is not None`.",
            "client.set(key, text, ex=seconds) stores with a TTL.",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_1,
                    "    if stored is not None:\n        return json.loads(stored)\n",
                    "    if stored and json.loads(stored) is not None:\n"
                    "        return json.loads(stored)\n",
                ),
                "For None the second call ran load()",
            ),
            (
                changed(
                    SOLUTION_1,
                    "    if stored is not None:\n        return json.loads(stored)\n",
                    "    if stored and json.loads(stored):\n        return json.loads(stored)\n",
                ),
                "For 0 the second call ran load()",
            ),
            (changed(SOLUTION_1, ", ex=ttl_none if value is None else ttl", ""), "without a TTL"),
            (changed(SOLUTION_1, "ttl_none if value is None else ttl", "ttl"), "it should be 10 s"),
            (changed(SOLUTION_1, "return json.loads(stored)", "return stored"), "instead of"),
            (
                changed(
                    SOLUTION_1,
                    "return json.loads(stored)",
                    'return None if stored == "nothing" else json.loads(stored)',
                    "json.dumps(value)",
                    '"nothing" if value is None else json.dumps(value)',
                ),
                "is not its JSON",
            ),
            (
                changed(
                    SOLUTION_1,
                    "    await client.set",
                    "    if value is None:\n        return None\n    await client.set",
                ),
                "nothing is stored under key",
            ),
        ],
        praise="An absent product now costs one query each time its short TTL ends.",
    ),
    Exercise(
        number=2,
        title="A flight that survives its first passenger",
        prompt="Write once(key, load): one load() for all who wait, whoever is cancelled.",
        setup=setup,
        starter=STARTER_2,
        solution=SOLUTION_2,
        check=check_once,
        hints=[
            "Put asyncio.ensure_future(load()) into the dict, and await it through asyncio.shield.",
            "Take it out of the dict when the work is done: add_done_callback on the future.",
            "waiting[key].add_done_callback(lambda _: waiting.pop(key)) right after it was made.",
        ],
        wrong=[
            (STARTER_2.replace("return ...", "return await load()"), "ran load() 10 times"),
            (changed(SOLUTION_2, "asyncio.shield(waiting[key])", "waiting[key]"), "with it"),
            (STARTER_2.replace("    return ...\n", FINALLY_2), "share it"),
            (STARTER_2.replace("    return ...\n", RETRY_2), "should end with CancelledError"),
            (
                changed(
                    SOLUTION_2,
                    "        waiting[key].add_done_callback(lambda _: waiting.pop(key))\n",
                    "",
                ),
                "the old flight is still there",
            ),
            (
                changed(
                    SOLUTION_2,
                    "lambda _: waiting.pop(key)",
                    "lambda done: done.exception() or waiting.pop(key)",
                ),
                "the old error",
            ),
        ],
        praise="This is the heart of final.py's `fetch`.",
    ),
    Exercise(
        number=3,
        title="When may I come back?",
        prompt="Make the sliding window say how long to wait.",
        setup=setup,
        starter=STARTER_3,
        solution=SOLUTION_3,
        check=check_wait,
        hints=[
            "Start from the script of `sliding`: remove the old, count, and only then add. Its "
            "last lines stay, with PEXPIRE for milliseconds.",
            "The next request can pass when the oldest one leaves the window.",
            "redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES') gives the oldest entry's name and "
            "score, as [1] and [2].",
        ],
        wrong=[
            (STARTER_3.replace("return nil  -- your", "return 0  -- your"), "30 may pass"),
            (STARTER_3.replace("    return nil  -- your lines go here\n", COUNTS_3), "set has 30"),
            (
                changed(SOLUTION_3, "    redis.call('PEXPIRE', KEYS[1], window)\n", ""),
                "would stay for ever",
            ),
            (changed(SOLUTION_3, "oldest[2] + window - now", "window"), "the answer is 60,000"),
            (changed(SOLUTION_3, "0, 0, 'WITHSCORES'", "-1, -1, 'WITHSCORES'"), "the answer is 5"),
            (changed(SOLUTION_3, "now, name)", "now, now)"), "in the same"),
            (changed(SOLUTION_3, "KEYS[1], window)", "KEYS[1], window, 'NX')"), "Renew the TTL"),
            (changed(SOLUTION_3, "'PEXPIRE'", "'EXPIRE'"), "but the key"),
            (STARTER_3.replace("    return nil  -- your lines go here\n", KEEPS_3), "which grows"),
        ],
        praise="Send it as Retry-After, in whole seconds, rounded up.",
    ),
    *lesson_04_deeper.EXERCISES,
    *lesson_04_more.EXERCISES,
]
