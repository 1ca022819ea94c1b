"""Exercises of lesson 04's later sections: a breaker, expiry, a cache's size, a token bucket."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

from helpers.exercises import Database, Exercise, Incorrect, NotAttempted, changed, running
from helpers.exercises.lesson_04_deeper import ended, section

# Exercise 8: one scout.

STARTER_8 = '''
class Breaker:
    """Lets nobody ask for so many seconds after a failure; then one goes first."""

    def __init__(self, cooldown):
        self.cooldown, self.until = cooldown, 0

    async def call(self, ask):
        """Return await ask(), or None while Redis is left alone or fails."""
        return ...


await ex8.check()
'''
BODY_8 = """\
        if time.monotonic() < self.until:
            return None
        if self.until:  # half open: this call goes first, the others stay away
            self.until = time.monotonic() + self.cooldown
        try:
            value = await ask()
        except redis.RedisError:
            self.until = time.monotonic() + self.cooldown
            return None
        self.until = 0
        return value
"""
HALF_8 = """\
        if self.until:  # half open: this call goes first, the others stay away
            self.until = time.monotonic() + self.cooldown
"""
SOLUTION_8 = STARTER_8.replace("        return ...\n", BODY_8)


class Asked:
    """What a breaker protects: counts who asks, and answers or fails when the gate opens."""

    def __init__(self, result: Any) -> None:
        """Args: what every call returns, or raises when it is an exception."""
        self.result, self.count, self.gate = result, 0, asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        """Ask once."""
        self.count += 1
        await self.gate.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def crowd(breaker: Any, asked: Asked) -> tuple[int, int, list[Any]]:
    """Send 20 callers, then let them have answers: how many asked and ended before, results."""
    asked.count = 0
    asked.gate.clear()
    tasks = [asyncio.ensure_future(breaker.call(asked)) for _ in range(20)]
    for _ in range(50):
        await asyncio.sleep(0)
    count, early = asked.count, sum(task.done() for task in tasks)
    asked.gate.set()
    return count, early, await ended(tasks, "20 calls")


async def check_breaker(Breaker: type[Any]) -> None:
    """Answers, a failure, the quiet time, one scout that fails, one that succeeds."""
    from redis.exceptions import ConnectionError as Away
    from redis.exceptions import TimeoutError as Late

    with running("Your class"):
        breaker = Breaker(1)
        good, bad = Asked("found"), Asked(Away("away"))
        if (answer := await breaker.call(good)) is ...:
            raise NotAttempted("call() returns nothing yet.")
        if answer != "found":
            raise Incorrect(f"ask() returned 'found', but call(ask) returned {answer!r}.")
        try:
            await breaker.call(Asked(KeyError("a bug")))
        except KeyError:
            pass
        else:
            raise Incorrect("A KeyError in ask() is a bug, not a failure of Redis: let it through.")
        if await breaker.call(good) != "found":
            raise Incorrect("After an error that is not Redis', the breaker should stay closed.")
        count, _, _ = await crowd(breaker, good)
        if count != 20:
            raise Incorrect(f"All was well, but {20 - count} of 20 callers at once waited in line.")
        if (answer := await breaker.call(bad)) is not None:
            raise Incorrect(f"ask() failed; call(ask) should return None, not {answer!r}.")
        good.count = 0
        if await breaker.call(good) is not None or good.count:
            raise Incorrect("Just after a failure a call asked. It should stay away and get None.")
        for asked in (bad, good):  # a scout that fails, then one that succeeds
            await asyncio.sleep(1.05)
            _, early, results = await crowd(breaker, asked)
            if asked.count != 1:
                raise Incorrect(
                    f"When the time was over, {asked.count} of 20 callers asked. One goes first; "
                    "the others do not ask as long as it has no answer."
                )
            if early != 19:
                raise Incorrect(
                    f"{19 - early} callers waited for the first. They get None at once."
                )
            if asked is bad:
                good.count = 0
                if await breaker.call(good) is not None or good.count:
                    raise Incorrect("The first call failed again. The quiet time starts anew.")
        if results.count("found") != 1:
            raise Incorrect("The call that goes first should get what ask() returned.")
        count, _, _ = await crowd(breaker, good)
        if count != 20:
            raise Incorrect(
                f"The first call succeeded, but only {count} of the next 20 asked. "
                "Close the breaker."
            )
        if await breaker.call(Asked(Late("no answer"))) is not None:
            raise Incorrect("ask() ran into a timeout; call(ask) should return None.")
        await asyncio.sleep(1.05)
        good.gate.clear()
        scout = asyncio.ensure_future(breaker.call(good))
        await asyncio.sleep(0)
        scout.cancel()
        await asyncio.wait([scout], timeout=1)
        good.gate.set()
        await asyncio.sleep(1.05)
        if await breaker.call(good) != "found":
            raise Incorrect(
                "The one who went first was cancelled, and a cooldown later still nobody asks."
            )


LOCKED_8 = """\
        if not hasattr(self, "lock"):
            self.lock = asyncio.Lock()
        async with self.lock:
            if time.monotonic() < self.until:
                return None
            try:
                return await ask()
            except redis.RedisError:
                self.until = time.monotonic() + self.cooldown
"""
# A flag that says who goes first; nobody takes it back when that call is cancelled.
FLAG_8 = """\
        if time.monotonic() < self.until or getattr(self, "scouting", False):
            return None
        self.scouting = self.until > 0
        try:
            value = await ask()
        except redis.RedisError:
            self.until, self.scouting = time.monotonic() + self.cooldown, False
            return None
        except Exception:
            self.scouting = False
            raise
        self.until, self.scouting = 0, False
        return value
"""

# Exercise 9: renew early.


def section_f() -> dict[str, Any]:
    """Do what section F's cells before the exercise do."""
    import math
    import random

    def early(left: float, took: float, dice: float) -> bool:
        return -took * math.log(1 - dice) >= left

    return section("f")() | {"math": math, "random": random, "early": early}


STARTER_9 = '''
async def renewing(key, load, ttl):
    """Return the value of key; sometimes renew it before its end."""
    return ...


await ex9.check()
'''
BODY_9 = """\
    stored, left = await client.get(key), await client.pttl(key) / 1000
    if stored is not None:
        found = json.loads(stored)
        if not early(left, found["took"], random.random()):
            return found["value"]
    started = time.monotonic()
    value = await load()
    took = time.monotonic() - started
    await client.set(key, json.dumps({"value": value, "took": took}), ex=ttl)
    return value
"""
SOLUTION_9 = STARTER_9.replace("    return ...\n", BODY_9)


async def check_renewing(rd: Database, renewing: Callable[..., Any]) -> None:
    """A miss; far from the end; near the end; half way between, counted against the formula."""
    key, loads = "ex9:key", 0

    async def load() -> Any:
        nonlocal loads
        loads += 1
        await asyncio.sleep(pause)
        return "new"

    async def count(left: int, took: float, times: int) -> int:
        nonlocal loads
        loads = 0
        for _ in range(times):
            redis.set(key, json.dumps({"value": "old", "took": took}), ex=left)
            before = loads
            value = await renewing(key, load, 900)
            if value != ("new" if loads > before else "old"):
                what = "load() returned 'new'" if loads > before else "Redis had 'old'"
                raise Incorrect(f"{what}, but renewing returned {value!r}.")
        return loads

    with rd.connect() as redis:
        redis.delete(key)
        pause = 0.1
        value = await renewing(key, load, 900)
        if value != "new" or loads != 1:
            raise Incorrect(
                f"Redis had nothing: load() ran {loads} times, and renewing returned {value!r}."
            )
        try:
            stored = json.loads(redis.get(key) or "")
            took = stored["took"]
            right = stored["value"] == "new"
        except (ValueError, KeyError, TypeError):
            raise Incorrect('There should be JSON with "value" and "took" under key.') from None
        if not right:
            raise Incorrect(f'"value" should be what load() returned. It is {stored["value"]!r}.')
        if not isinstance(took, int | float) or not 0.09 <= took <= 5:
            raise Incorrect(f'load() took 0.1 s, but "took" is {took!r}.')
        if not 890 <= redis.ttl(key) <= 900:
            raise Incorrect(f"ttl was 900 s, but the key's TTL is {redis.ttl(key)}.")
        pause = 0
        if found := await count(left=600, took=1, times=50):
            raise Incorrect(
                f"600 s before the end, {found} of 50 callers renewed a value that takes 1 s."
            )
        if (found := await count(left=600, took=60_000, times=50)) < 30:
            if await count(left=600, took=60_000_000, times=50) >= 30:
                raise Incorrect("PTTL tells milliseconds, and `early` takes seconds.")
            raise Incorrect(
                f"600 s before the end, {found} of 50 callers renewed a value that took 60,000 s; "
                "nearly all should."
            )
        # Half of them would renew: 200 throws, where 50 to 150 are more than seven deviations.
        # The end is so near that with the whole TTL for what is left, none would (e ** -52).
        found = await count(left=12, took=17.3, times=200)
        if not 50 <= found <= 150:
            raise Incorrect(
                f"{found} of 200 callers renewed; the formula says about 100. New dice for each."
            )
        redis.delete(key)


# Exercise 10: the last minute.

STARTER_10 = '''
def hit_ratio(before, after):
    """Return the share of hits between two INFOs, or None."""
    return ...


ex10.check()
'''
SOLUTION_10 = STARTER_10.replace(
    "    return ...\n",
    """\
    hits = after["keyspace_hits"] - before["keyspace_hits"]
    misses = after["keyspace_misses"] - before["keyspace_misses"]
    if hits < 0 or misses < 0 or hits + misses == 0:
        return None
    return hits / (hits + misses)
""",
)


def check_ratio(rd: Database, hit_ratio: Callable[..., Any]) -> None:
    """Look up what is there and what is not, and read INFO in between."""
    with rd.connect() as redis:
        redis.set("ex10:there", 1)
        infos = [redis.info("stats")]
        for hits, misses in [(30, 10), (0, 20), (20, 0)]:
            redis.mget(["ex10:there"] * hits + ["ex10:not there"] * misses)
            infos.append(redis.info("stats"))
        redis.delete("ex10:there")
    if hit_ratio(*infos[:2]) is ...:
        raise NotAttempted("hit_ratio() returns nothing yet.")
    for before, after in itertools.pairwise(infos):
        hits = after["keyspace_hits"] - before["keyspace_hits"]
        misses = after["keyspace_misses"] - before["keyspace_misses"]
        right, found = hits / (hits + misses), hit_ratio(before, after)
        if not isinstance(found, int | float) or abs(found - right) > 1e-6:
            raise Incorrect(f"{hits} hits and {misses} misses came in between, not {found!r}.")
    if (found := hit_ratio(infos[1], infos[1])) is not None:
        raise Incorrect(f"Nothing was looked up in between: None, not {found!r}.")
    if (found := hit_ratio(infos[3], infos[0])) is not None:
        raise Incorrect(f"The counters went down, so Redis was restarted: None, not {found!r}.")
    begin = {"keyspace_hits": 100, "keyspace_misses": 100}
    for change in ({"keyspace_hits": 7}, {"keyspace_misses": 7}):
        after = {"keyspace_hits": 130, "keyspace_misses": 130} | change
        if (found := hit_ratio(begin, after)) is not None:
            raise Incorrect(
                f"From {begin} to {after}: one counter is smaller than before, so both began "
                f"anew: None, not {found!r}."
            )


# Exercise 11: a report costs five.

STARTER_11 = '''
TAKE = """
    local now, size = tonumber(ARGV[1]), tonumber(ARGV[2])
    local rate, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
    return nil  -- your lines go here
"""


async def take(key, now, size, rate, cost):
    """Return 0 when cost tokens were taken, or the milliseconds to wait, or -1."""
    return await client.eval(TAKE, 1, key, now, size, rate, cost)


await ex11.check()
'''
LINES_11 = """\
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
SOLUTION_11 = changed(STARTER_11, "    return nil  -- your lines go here\n", LINES_11)


async def check_take(rd: Database, take: Callable[..., Any]) -> None:
    """A crowd, the wait that is told, a caller who asks all the time, a long rest, a large cost."""
    key = "ex11:key"
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

        redis.delete(key, "ex11:other")
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
        if await take("ex11:other", 0, 10, 1, 1) != 0:
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
        redis.delete(key, "ex11:other")


EXERCISES: list[Exercise] = [
    Exercise(
        number=8,
        title="One scout",
        prompt="Write a breaker that lets one call go first when its time is over.",
        setup=section("e"),
        starter=STARTER_8,
        solution=SOLUTION_8,
        check=check_breaker,
        hints=[
            "The section's Breaker is the frame: return None early, else try. The new part comes "
            "between the two.",
            "self.until is 0 while all is well. If it is not, and its time is over, this call "
            "goes first. Before it awaits anything it must keep the others away.",
            "The one that goes first sets self.until to now plus cooldown. When it succeeds, it "
            "sets self.until to 0.",
        ],
        wrong=[
            (changed(SOLUTION_8, HALF_8, ""), "One goes first"),
            (
                changed(SOLUTION_8, "        self.until = 0\n        return", "        return"),
                "Close",
            ),
            (changed(SOLUTION_8, "except redis.RedisError", "except Exception"), "is a bug"),
            (changed(SOLUTION_8, BODY_8, LOCKED_8), "waited in line"),
            (
                changed(SOLUTION_8, "redis.RedisError", "redis.ConnectionError"),
                "raised TimeoutError",
            ),
            (changed(SOLUTION_8, BODY_8, FLAG_8), "was cancelled"),
        ],
        praise="One caller finds out for all, when Redis goes and when it comes back.",
    ),
    Exercise(
        number=9,
        title="Renew early",
        prompt="Write renewing: a value that is renewed before its end, by chance.",
        setup=section_f,
        starter=STARTER_9,
        solution=SOLUTION_9,
        check=check_renewing,
        hints=[
            "Ask for the value and for PTTL. Nothing there: load. Else early(...) decides.",
            "PTTL is in milliseconds, and early wants seconds: what is left, not ttl.",
            "Note time.monotonic() before and after load(); store both with json.dumps and ex=ttl.",
        ],
        wrong=[
            (
                changed(SOLUTION_9, 'not early(left, found["took"], random.random())', "True"),
                "nearly all should",
            ),
            (changed(SOLUTION_9, "pttl(key) / 1000", "pttl(key)"), "PTTL tells milliseconds"),
            (
                changed(
                    SOLUTION_9,
                    'early(left, found["took"], random.random())',
                    'left < found["took"]',
                ),
                "200 of 200 callers renewed",
            ),
            (changed(SOLUTION_9, "time.monotonic() - started", "0"), '"took" is 0'),
            (changed(SOLUTION_9, "early(left,", "early(ttl,"), ": 0 of 200 callers"),
        ],
        praise="One caller pays now and then, and nobody else waits.",
    ),
    Exercise(
        number=10,
        title="The last minute",
        prompt="Write hit_ratio: the share of hits between two answers of INFO.",
        setup=section("g"),
        starter=STARTER_10,
        solution=SOLUTION_10,
        check=check_ratio,
        hints=[
            "The counters are keyspace_hits and keyspace_misses. Take differences.",
            "The share is hits / (hits + misses). When may you not divide?",
            "After a restart the counters are smaller than before.",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_10,
                    ' - before["keyspace_hits"]',
                    "",
                    ' - before["keyspace_misses"]',
                    "",
                ),
                "came in between",
            ),
            (changed(SOLUTION_10, " or hits + misses == 0", ""), "ZeroDivisionError"),
            (changed(SOLUTION_10, "hits < 0 or misses < 0 or ", ""), "The counters went down"),
            (changed(SOLUTION_10, "misses < 0 or ", ""), "began anew"),
        ],
        praise="A graph of this, minute by minute, is the first to look at when the shop is slow.",
    ),
    Exercise(
        number=11,
        title="A report costs five",
        prompt="Write a token bucket whose requests cost more than one token.",
        setup=section("h"),
        starter=STARTER_11,
        solution=SOLUTION_11,
        check=check_take,
        hints=[
            "Start from BUCKET: read, refill, compare, write. `rate` is in seconds here, `now` in "
            "milliseconds.",
            "When it is refused, (cost - tokens) are missing. How many milliseconds does the rate "
            "need for them? Round up: math.ceil.",
            "Store the tokens as they are, parts and all. The TTL: as long as an empty bucket "
            "needs to be full.",
        ],
        wrong=[
            (STARTER_11.replace("return nil  -- your", "return 0  -- your"), "30 passed"),
            (changed(SOLUTION_11, "math.ceil((cost", "math.floor((cost"), "twice."),
            (
                changed(
                    SOLUTION_11,
                    "(now - at) * rate / 1000)",
                    "math.floor((now - at) * rate / 1000))",
                ),
                "lost.",
            ),
            (
                changed(
                    SOLUTION_11,
                    "math.min(size, tokens + (now - at) * rate / 1000)",
                    "tokens + (now - at) * rate / 1000",
                ),
                "rest",
            ),
            (changed(SOLUTION_11, "    if cost > size then return -1 end\n", ""), "-1, not"),
            (
                changed(
                    SOLUTION_11,
                    "    redis.call('PEXPIRE', KEYS[1], math.ceil(size * 1000 / rate))\n",
                    "",
                ),
                "would stay for ever",
            ),
            (
                changed(SOLUTION_11, "math.ceil(size * 1000 / rate))", "1000)"),
                "and then the bucket",
            ),
        ],
        praise="Two numbers for each caller, and a price for everything.",
    ),
]
