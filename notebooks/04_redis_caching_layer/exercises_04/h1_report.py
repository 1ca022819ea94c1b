"""Exercise 04h-1: a report costs five."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed

STARTER = '''
TAKE = """
    local now, size = tonumber(ARGV[1]), tonumber(ARGV[2])
    local rate, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
    return nil  -- your lines go here
"""


async def take(key, now, size, rate, cost):
    """Return 0 when cost tokens were taken, or the milliseconds to wait, or -1."""
    return await client.eval(TAKE, 1, key, now, size, rate, cost)


await ex1.check()
'''
LINES = """\
    if cost > size then return -1 end
    local found = redis.call('HMGET', KEYS[1], 'tokens', 'at')
    local tokens, at = tonumber(found[1] or size), tonumber(found[2] or now)
    tokens = math.min(size, tokens + (now - at) * rate / 1000)
    local wait = 0
    if tokens >= cost then tokens = tokens - cost
    else wait = math.ceil((cost - tokens) * 1000 / rate) end
    redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
    redis.call('PEXPIRE', KEYS[1], math.ceil(size * 1000 / rate))
    return wait
"""
SOLUTION = changed(STARTER, "    return nil  -- your lines go here\n", LINES)


async def check(rd: Place, take: Callable[..., Any]) -> None:
    """A crowd, the wait that is told, a caller who asks all the time, a long rest, a large cost."""
    key = "ex1:key"
    with rd.connect() as redis:

        async def ask(now: int, cost: int, rate: float = 1) -> int:
            found = await take(key, now, 10, rate, cost)
            if found is None:
                raise NotAttempted("The script returns nothing yet.")
            if not isinstance(found, int):
                raise Incorrect(f"take() should return a whole number; it returned {found!r}.")
            return found

        async def empty(rate: float = 1) -> None:
            redis.delete(key)
            if found := await ask(0, 10, rate):
                raise Incorrect(f"A new bucket holds 10 tokens; for 10 the answer is {found:,}.")

        redis.delete(key, "ex1:other")
        answers = await asyncio.gather(*(ask(0, 1) for _ in range(30)))
        if answers.count(0) != 10:
            raise Incorrect(f"Of 30 requests at once {answers.count(0)} passed; 10 tokens are in.")
        if not redis.exists(key):
            raise Incorrect("Nothing is stored under KEYS[1].")
        if (left := redis.pttl(key)) == -1:
            raise Incorrect("The key has no TTL: every caller's bucket would stay for ever.")
        if left < 8_000:
            raise Incorrect(
                f"The key of an empty bucket ends in {left:,} ms, and then the bucket is full. It "
                "would be full after 10,000 ms."
            )
        if await take("ex1:other", 0, 10, 1, 1) != 0:
            raise Incorrect("Another key is limited too. Use KEYS[1].")
        for rate, cost in [(1, 5), (3, 1), (0.5, 3), (7, 10)]:
            await empty(rate)
            wait = await ask(0, cost, rate)
            if wait <= 0:
                raise Incorrect(f"The bucket is empty, but for {cost} the answer is {wait:,}.")
            if await ask(wait - 1, cost, rate) == 0:
                raise Incorrect(
                    f"At {rate} tokens a second the wait for {cost} is {wait:,} ms, but the "
                    "request passed a millisecond earlier."
                )
            await empty(rate)
            again = await ask(wait, cost, rate), await ask(wait, cost, rate)
            if again[0]:
                raise Incorrect(
                    f"At {rate} tokens a second the wait for {cost} is {wait:,} ms. After that "
                    f"time the request was refused: {again[0]:,} ms more."
                )
            if again[1] == 0:
                raise Incorrect(
                    f"At {rate} tokens a second, {wait:,} ms after the bucket was empty, {cost} "
                    "were taken twice. Is a refused request told 0 because you round down?"
                )
        await empty()
        for now in range(100, 5_000, 100):
            if await ask(now, 5) == 0:
                raise Incorrect(f"After {now:,} ms there are not yet 5 tokens, but 5 were taken.")
        wait = await ask(5_000, 5)
        if wait > 1 or (wait == 1 and await ask(5_001, 5)):  # a sum of fractions may fall short
            raise Incorrect(
                "Who asks for 5 tokens ten times a second should get them after 5 s, and is told "
                f"to wait {wait:,} ms more. A refused request costs nothing, and a part of a token "
                "is not lost."
            )
        await empty()
        if await ask(3_600_000, 10) or await ask(3_600_000, 1) == 0:
            raise Incorrect("After an hour's rest 10 tokens may be taken, and not one more.")
        redis.delete(key)
        if (found := await ask(0, 11)) != -1:
            raise Incorrect(f"A bucket of 10 never holds 11 tokens: -1, not {found:,}.")
        if await ask(0, 10) != 0:
            raise Incorrect("A request that can never pass took tokens from others.")
        redis.delete(key, "ex1:other")


EXERCISE = Exercise(
    title="A report costs five",
    minutes=10,
    prompt="Write a token bucket whose requests cost more than one token.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Start from BUCKET: read, refill, compare, write. `rate` is in seconds here, `now` in "
        "milliseconds.",
        "When it is refused, (cost - tokens) are missing. How many milliseconds does the rate "
        "need for them? Round up: math.ceil.",
        "Store the tokens as they are, parts and all. The TTL: as long as an empty bucket "
        "needs to be full.",
    ],
    wrong=[
        (STARTER.replace("return nil  -- your", "return 0  -- your"), "30 passed"),
        (changed(SOLUTION, "math.ceil((cost", "math.floor((cost"), "twice."),
        (
            changed(
                SOLUTION,
                "(now - at) * rate / 1000)",
                "math.floor((now - at) * rate / 1000))",
            ),
            "lost.",
        ),
        (
            changed(
                SOLUTION,
                "math.min(size, tokens + (now - at) * rate / 1000)",
                "tokens + (now - at) * rate / 1000",
            ),
            "rest",
        ),
        (changed(SOLUTION, "    if cost > size then return -1 end\n", ""), "-1, not"),
        (
            changed(
                SOLUTION,
                "    redis.call('PEXPIRE', KEYS[1], math.ceil(size * 1000 / rate))\n",
                "",
            ),
            "would stay for ever",
        ),
        (
            changed(SOLUTION, "math.ceil(size * 1000 / rate))", "1000)"),
            "and then the bucket",
        ),
    ],
    praise="Two numbers for each caller, and a price for everything.",
)
