"""Exercise 04h-1: a report costs five."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from exercises_04.common import Since, shown
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


class Bucket:
    """The exercise in exact numbers: what the answer is compared with."""

    def __init__(self, size: int, rate: float) -> None:
        """Begin full."""
        self.size, self.rate = Fraction(size), Fraction(rate)
        self.tokens, self.at = self.size, 0

    def wait(self, now: int, cost: int) -> Fraction:
        """Let tokens drip in; return the milliseconds until there are enough, or 0."""
        dripped = Fraction(now - self.at) * self.rate / 1000
        self.tokens, self.at = min(self.size, self.tokens + dripped), now
        return max(Fraction(0), (cost - self.tokens) * 1000 / self.rate)


#: A sum of fractions may fall short in Lua, by much less than this, in milliseconds.
NEARLY = Fraction(1, 10_000)
OTHER = "ex1:other"


async def check(rd: Place, take: Callable[..., Any]) -> None:
    """A crowd; what people get wrong, one by one; then requests at random against the model."""
    key = "ex1:key"
    with rd.connect() as redis:
        try:
            redis.delete(key, OTHER)
            await check_crowd(redis, take, key)
            for rate in (1, 3, 0.01):
                await check_ttl(redis, take, key, rate)
            await check_steps(redis, take, key)
            for seed in range(12):
                await check_random(redis, take, key, random.Random(seed))
        finally:
            redis.delete(key, OTHER)


async def ask(
    take: Callable[..., Any], key: str, now: int, cost: int, rate: float, size: int
) -> int:
    """Ask the learner's bucket; the answer must be a whole number."""
    found = await take(key, now, size, rate, cost)
    if found is None:
        raise NotAttempted("The script returns nothing yet.")
    if not isinstance(found, int):
        raise Incorrect(f"take() should return a whole number; it returned {shown(found)}.")
    return found


async def check_crowd(redis: Any, take: Callable[..., Any], key: str) -> None:
    """Thirty requests at once, for ten tokens."""
    answers = await asyncio.gather(*(ask(take, key, 0, 1, 1, 10) for _ in range(30)))
    if answers.count(0) != 10:
        raise Incorrect(f"Of 30 requests at once {answers.count(0)} passed; 10 tokens are in.")
    if not redis.exists(key):
        raise Incorrect("Nothing is stored under KEYS[1].")
    if await ask(take, OTHER, 0, 1, 1, 10) != 0:
        raise Incorrect("Another key is limited too. Use KEYS[1].")


async def check_ttl(redis: Any, take: Callable[..., Any], key: str, rate: float) -> None:
    """The key's time after a request that took all, and after one that was refused."""
    full = math.ceil(10 * 1000 / rate)
    for cost, what in [(10, "an empty bucket"), (1, "a bucket that refused a request")]:
        if cost == 10:
            redis.delete(key)
        else:
            redis.pexpire(key, full // 2)  # as if half of its time had passed
        since = Since()
        await ask(take, key, 0, cost, rate, 10)
        left = redis.pttl(key)
        if left == -1:
            raise Incorrect("The key has no TTL: every caller's bucket would stay for ever.")
        if left < full and not since.about(left, full):
            raise Incorrect(
                f"At {rate} tokens a second the key of {what} ends in {left:,} ms, and then the "
                f"bucket is full. It would be full after {full:,} ms."
            )
        if left > full + 1:
            raise Incorrect(
                f"At {rate} tokens a second an empty bucket is full after {full:,} ms, but its key "
                f"stays for {left:,} ms."
            )


async def check_steps(redis: Any, take: Callable[..., Any], key: str) -> None:
    """What people get wrong, each with its own reason."""

    async def request(now: int, cost: int, rate: float = 1) -> int:
        return await ask(take, key, now, cost, rate, 10)

    async def empty(rate: float = 1) -> None:
        redis.delete(key)
        if found := await request(0, 10, rate):
            raise Incorrect(f"A new bucket holds 10 tokens; for 10 the answer is {found:,}.")

    for rate, cost in [(1, 5), (3, 1), (0.5, 3), (7, 10)]:
        await empty(rate)
        wait = await request(0, cost, rate)
        if wait <= 0:
            raise Incorrect(f"The bucket is empty, but for {cost} the answer is {wait:,}.")
        if await request(wait - 1, cost, rate) == 0:
            raise Incorrect(
                f"At {rate} tokens a second the wait for {cost} is {wait:,} ms, but the "
                "request passed a millisecond earlier."
            )
        await empty(rate)
        again = await request(wait, cost, rate), await request(wait, cost, rate)
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
        if await request(now, 5) == 0:
            raise Incorrect(f"After {now:,} ms there are not yet 5 tokens, but 5 were taken.")
    wait = await request(5_000, 5)
    if wait > 1 or (wait == 1 and await request(5_001, 5)):  # a sum of fractions may fall short
        raise Incorrect(
            "Who asks for 5 tokens ten times a second should get them after 5 s, and is told "
            f"to wait {wait:,} ms more. A refused request costs nothing, and a part of a token "
            "is not lost."
        )
    await empty()
    if await request(3_600_000, 10) or await request(3_600_000, 1) == 0:
        raise Incorrect("After an hour's rest 10 tokens may be taken, and not one more.")
    redis.delete(key)
    if (found := await request(0, 11)) != -1:
        raise Incorrect(f"A bucket of 10 never holds 11 tokens: -1, not {found:,}.")
    if await request(0, 10) != 0:
        raise Incorrect("A request that can never pass took tokens from others.")


async def check_random(redis: Any, take: Callable[..., Any], key: str, dice: random.Random) -> None:
    """Send forty requests to a bucket, and compare each answer with the model's."""
    size, rate = dice.choice([1, 2, 5, 10, 100]), dice.choice([0.25, 0.5, 1, 2, 3, 7, 250])
    model, now = Bucket(size, rate), 0
    redis.delete(key)
    for _ in range(40):
        now += dice.choice([0, 0, 1, 125, 1_000, 4_000])
        cost = dice.choice([1, 1, 2, size, size + 1])
        found = await ask(take, key, now, cost, rate, size)
        wait = model.wait(now, cost)
        right = {math.ceil(max(Fraction(0), wait + d)) for d in (-NEARLY, Fraction(0), NEARLY)}
        right = {-1} if cost > size else right if wait or found == 0 else {0, 1}
        if cost <= size and not wait and model.tokens - cost > NEARLY:
            right = {0}
        if found not in right:
            raise Incorrect(
                f"A bucket of {size}, at {rate} tokens a second, holds {float(model.tokens):.3f} "
                f"tokens {now:,} ms after it was new. For {cost} the answer is {found:,} instead "
                f"of {max(right):,}."
            )
        if found == 0:
            model.tokens = max(Fraction(0), model.tokens - cost)


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
        (changed(SOLUTION, "'PEXPIRE'", "'EXPIRE'"), "but its key stays"),
    ],
    equal={
        "8a778b10": "Lua makes a number of a text where it calculates",
        "636c5686": "Lua makes a number of a text where it calculates",
        "d05ab8af": "a part of a millisecond: Redis counts whole ones",
    },
    praise="Two numbers for each caller, and a price for everything.",
)
