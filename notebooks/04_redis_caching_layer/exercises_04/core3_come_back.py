"""Exercise 04-3: when may I come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from exercises_04.common import Since, shown
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
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
    """Thirty at once for a limit of ten; other limits; the wait, to the millisecond."""
    keys = ["ex3:key", "ex3:other"]
    with rd.connect() as redis:
        try:
            redis.delete(*keys)
            await check_crowd(redis, wait, keys[0])
            if await wait(keys[1], 10, 60_000) != 0:
                raise Incorrect("Another key is limited too. Use KEYS[1].")
            await check_window(redis, wait, keys[0])
            for limit, window in [(1, 20_000), (3, 90_000), (10, 60_000)]:
                await check_wait(redis, wait, keys[0], limit, window)
            await check_border(redis, wait, keys[0])
            await check_edge(redis, wait, keys[0])
        finally:
            redis.delete(*keys)


async def check_crowd(redis: Any, wait: Callable[..., Any], key: str) -> None:
    """Thirty requests at once, of which ten may pass."""
    window, since = 60_000, Since()
    first = await wait(key, 10, window)
    if first is None:
        raise NotAttempted("The script returns nothing yet.")
    if redis.type(key) not in ("zset", "none"):
        raise Incorrect("Keep the moments in a sorted set under KEYS[1], as above.")
    answers = [first, *await asyncio.gather(*(wait(key, 10, window) for _ in range(29)))]
    if not all(isinstance(answer, int) for answer in answers):
        raise Incorrect(f"wait() should return whole numbers; it returned {shown(answers[-1])}.")
    if any(answer < 0 for answer in answers):
        raise Incorrect(f"wait() returned {min(answers):,}: a wait is never below 0.")
    passed, kept = answers.count(0), redis.zcard(key)
    if passed and not kept:
        raise Incorrect(f"{passed} requests passed, but nothing is stored under KEYS[1].")
    if kept < passed:
        raise Incorrect(
            f"{passed} requests passed, but the set has {kept} entries: two requests had the same "
            "name in it, as those in the same millisecond. Use the name that is passed in."
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
    if not since.left(left / 1000, window / 1000) and left < window:
        raise Incorrect(
            f"The window is 60 s, and the key ends in {left // 1000:,} s: the set would forget "
            "requests that still count. The TTL is the window's."
        )


async def check_window(redis: Any, wait: Callable[..., Any], key: str) -> None:
    """Let the oldest of ten requests leave the window."""
    window = 60_000
    redis.zincrby(key, -window - 1, redis.zrange(key, 0, 0)[0])
    redis.pexpire(key, 20_000)
    since = Since()
    if await wait(key, 10, window) != 0:
        raise Incorrect("The oldest request has left the window, but no new one may pass.")
    if (kept := redis.zcard(key)) != 10:
        raise Incorrect(
            f"One of ten requests has left the window, and a new one passed: the set has {kept} "
            "entries instead of 10. Requests that have left the window should go, and only they."
        )
    if not since.left(redis.pttl(key) / 1000, window / 1000):
        raise Incorrect(
            "A request passed, and the key ends before that request leaves the window: the "
            "set forgets it too early. Renew the TTL with each accepted request."
        )


async def check_wait(
    redis: Any, wait: Callable[..., Any], key: str, limit: int, window: int
) -> None:
    """Refuse a request when the moments of the accepted ones are known, and look at the wait."""
    for back in (window // 3, window // 2):
        begin = moment(redis) - back
        redis.delete(key)
        redis.zadd(key, {f"ex3:{n}": begin + n * window // 30 for n in range(limit)})
        earliest = begin + window - moment(redis)
        found = await wait(key, limit, window)
        latest = begin + window - moment(redis)
        if not latest <= found <= earliest:
            raise Incorrect(
                f"The oldest accepted request was {back // 1000} s ago, and the window is "
                f"{window // 1000} s. The next one can pass in {earliest:,} ms; the answer is "
                f"{found:,}."
            )


async def check_border(redis: Any, wait: Callable[..., Any], key: str) -> None:
    """Have a request in the set for each millisecond around the border, and see which ones go.

    Whichever millisecond it is when the script runs, one of them is exactly one window old.
    """
    around = 500
    for _ in range(20):
        begin = moment(redis)
        redis.delete(key)
        redis.zadd(key, {f"ex3:{n}": begin - 60_000 + n for n in range(around)})
        if await wait(key, 2 * around, 60_000) != 0:
            raise Incorrect(f"With {around} requests of {2 * around}, the next one may pass.")
        entries = dict(redis.zrange(key, 0, -1, withscores=True))
        new = [score for name, score in entries.items() if not name.startswith("ex3:")]
        if len(new) != 1:
            raise Incorrect(f"One request passed, and the set has {len(new)} new entries.")
        passed = int(new[0]) - begin
        if passed < around:  # else the machine stood still for half a second: once more
            if f"ex3:{passed}" in entries:
                raise Incorrect(
                    "A request that came exactly one window ago does not count any more. "
                    "When the next one passed, it was still in the set."
                )
            return


async def check_edge(redis: Any, wait: Callable[..., Any], key: str) -> None:
    """Ask in the very millisecond in which the wait that was told is over."""
    for _ in range(200):
        begin = moment(redis)
        redis.delete(key)
        redis.zadd(key, {"ex3:oldest": begin - 60_000})
        found = await wait(key, 1, 60_000)
        if moment(redis) != begin:
            continue  # the clock has gone on meanwhile: once more
        if found == 0 and redis.zscore(key, "ex3:oldest") is None and redis.zcard(key) == 1:
            return
        raise Incorrect(
            "The oldest request was exactly one window ago. Then the wait is over: the request "
            f"may pass, and the oldest one goes. The answer is {found:,}, and the set has "
            f"{redis.zcard(key)} entries."
        )


def moment(redis: Any) -> int:
    """Return Redis' clock in milliseconds, as the script's `now`."""
    seconds, microseconds = redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


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
        (
            STARTER.replace("return nil  -- your", "return 0  -- your"),
            "30 requests passed, but nothing",
        ),
        (STARTER.replace("    return nil  -- your lines go here\n", COUNTS), "set has 30"),
        (
            changed(SOLUTION, "    redis.call('PEXPIRE', KEYS[1], window)\n", ""),
            "would stay for ever",
        ),
        (changed(SOLUTION, "oldest[2] + window - now", "window"), "the answer is 20,000"),
        (changed(SOLUTION, "0, 0, 'WITHSCORES'", "-1, -1, 'WITHSCORES'"), "the window is 90 s"),
        (changed(SOLUTION, "now, name)", "now, now)"), "had the same name"),
        (changed(SOLUTION, "KEYS[1], window)", "KEYS[1], window, 'NX')"), "Renew the TTL"),
        (changed(SOLUTION, "'PEXPIRE'", "'EXPIRE'"), "but the key"),
        (STARTER.replace("    return nil  -- your lines go here\n", KEEPS), "11 entries"),
        (changed(SOLUTION, "KEYS[1]", "'ex3:everybody'"), "10 requests passed, but nothing"),
        (
            changed(SOLUTION, "now, name)", "now, redis.call('ZCARD', KEYS[1]))"),
            "has 9 entries",
        ),
        (changed(SOLUTION, "'-inf', now", "'-inf', '(' .. now"), "exactly one window ago"),
        (
            changed(SOLUTION, "'PEXPIRE', KEYS[1], window", "'PEXPIRE', KEYS[1], 1000"),
            "forget requests",
        ),
    ],
    equal={
        "09846c22": "the first of two entries is the same oldest one",
    },
    praise="Send it as Retry-After, in whole seconds, rounded up.",
)
