"""Exercise 04-3: when may I come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

STARTER = '''
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
LINES = """\
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
    if redis.call('ZCARD', KEYS[1]) >= limit then
        local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
        return oldest[2] + window - now
    end
    redis.call('ZADD', KEYS[1], now, name)
    redis.call('PEXPIRE', KEYS[1], window)
    return 0
"""
SOLUTION = STARTER.replace("    return nil  -- your lines go here\n", LINES)
COUNTS = """\
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
    redis.call('ZADD', KEYS[1], now, name)
    redis.call('PEXPIRE', KEYS[1], window)
    if redis.call('ZCARD', KEYS[1]) <= limit then return 0 end
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return oldest[2] + window - now
"""
# Counts the right ones, but never removes one.
KEEPS = """\
    if redis.call('ZCOUNT', KEYS[1], now - window, '+inf') >= limit then
        local oldest = redis.call('ZRANGE', KEYS[1], now - window, '+inf', 'BYSCORE', 'LIMIT', 0, 1,
            'WITHSCORES')
        return oldest[2] + window - now
    end
    redis.call('ZADD', KEYS[1], now, name)
    redis.call('PEXPIRE', KEYS[1], window)
    return 0
"""


async def check(rd: Place, wait: Callable[..., Any]) -> None:
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


EXERCISE = Exercise(
    title="When may I come back?",
    minutes=9,
    prompt="Make the sliding window say how long to wait.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Start from the script of `sliding`: remove the old, count, and only then add. Its "
        "last lines stay, with PEXPIRE for milliseconds.",
        "The next request can pass when the oldest one leaves the window.",
        "redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES') gives the oldest entry's name and "
        "score, as [1] and [2].",
    ],
    wrong=[
        (STARTER.replace("return nil  -- your", "return 0  -- your"), "30 may pass"),
        (STARTER.replace("    return nil  -- your lines go here\n", COUNTS), "set has 30"),
        (
            changed(SOLUTION, "    redis.call('PEXPIRE', KEYS[1], window)\n", ""),
            "would stay for ever",
        ),
        (changed(SOLUTION, "oldest[2] + window - now", "window"), "the answer is 60,000"),
        (changed(SOLUTION, "0, 0, 'WITHSCORES'", "-1, -1, 'WITHSCORES'"), "the answer is 5"),
        (changed(SOLUTION, "now, name)", "now, now)"), "in the same"),
        (changed(SOLUTION, "KEYS[1], window)", "KEYS[1], window, 'NX')"), "Renew the TTL"),
        (changed(SOLUTION, "'PEXPIRE'", "'EXPIRE'"), "but the key"),
        (STARTER.replace("    return nil  -- your lines go here\n", KEEPS), "which grows"),
    ],
    praise="Send it as Retry-After, in whole seconds, rounded up.",
)
