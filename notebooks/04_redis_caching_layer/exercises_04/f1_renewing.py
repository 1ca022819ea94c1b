"""Exercise 04f-1: renew early."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from exercises_04.common import PATIENCE, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

STARTER = '''
async def renewing(key, load, ttl):
    """Return the value of key; sometimes renew it before its end."""
    return ...


await ex1.check()
'''
BODY = """\
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
SOLUTION = "\nimport json\nimport time\n\n" + STARTER.replace("    return ...\n", BODY)


OLD: list[Any] = ["old", None, 0, "", [], False, {"a": [1]}]
FAR = 600  # seconds


class Loader:
    """What is renewed: counts its runs, returns what it is told, and takes its time."""

    def __init__(self, value: Any, pause: float = 0) -> None:
        """Args: what a load returns, and how many seconds it takes."""
        self.value, self.pause, self.runs = value, pause, 0

    async def __call__(self) -> Any:
        """Load once."""
        self.runs += 1
        await asyncio.sleep(self.pause)
        return self.value


async def check(rd: Place, renewing: Callable[..., Any]) -> None:
    """A miss; far from the end; near the end; half way between, counted against the formula."""
    key = "ex1:key"
    with rd.connect() as redis:

        async def count(left: int, took: float, times: int, old: Any = "old") -> int:
            renewed = 0
            for _ in range(times):
                redis.set(key, json.dumps({"value": old, "took": took}), ex=left)
                loader = Loader("new")
                value = await renewing(key, loader, 900)
                if not same(value, "new" if loader.runs else old):
                    what = "load() returned 'new'" if loader.runs else f"Redis had {old!r}"
                    raise Incorrect(f"{what}, but renewing returned {shown(value)}.")
                if loader.runs:
                    check_stored(redis, key, "new", 900)
                renewed += loader.runs
            return renewed

        try:
            redis.delete(key)
            for new, ttl in [("new", 900), (None, 90), (0, 9_000)]:
                await check_miss(redis, renewing, key, new, ttl)
            for old in OLD:
                if found := await count(FAR, 1, 10, old):
                    raise Incorrect(
                        f"600 s before the end, {found} of 10 callers renewed the value {old!r}, "
                        "which takes 1 s."
                    )
            if (found := await count(FAR, 60_000, 50)) < 30:
                if await count(FAR, 60_000_000, 50) >= 30:
                    raise Incorrect("PTTL tells milliseconds, and `early` takes seconds.")
                raise Incorrect(
                    f"600 s before the end, {found} of 50 callers renewed a value that took 60,000 "
                    "s; nearly all should."
                )
            # Half of them would renew: 200 throws, where 50 to 150 are more than seven deviations.
            # The end is so near that with the whole TTL for what is left, none would (e ** -52).
            found = await count(12, 17.3, 200)
            if not 50 <= found <= 150:
                raise Incorrect(
                    f"{found} of 200 callers renewed; the formula says about 100. New dice for "
                    "each."
                )
        finally:
            redis.delete(key)


async def check_miss(
    redis: Any, renewing: Callable[..., Any], key: str, new: Any, ttl: int
) -> None:
    """Ask for a value that Redis has not, and look at what is stored then."""
    redis.delete(key)
    loader, since = Loader(new, 0.1), time.monotonic()
    value = await renewing(key, loader, ttl)
    most = time.monotonic() - since
    if not same(value, new) or loader.runs != 1:
        raise Incorrect(
            f"Redis had nothing: load() ran {loader.runs} times and returned {new!r}, and renewing "
            f"returned {shown(value)}."
        )
    took = check_stored(redis, key, new, ttl)
    if not 0.09 <= took <= most:
        raise Incorrect(f'load() took 0.1 s, but "took" is {shown(took)}.')


def check_stored(redis: Any, key: str, new: Any, ttl: int) -> float:
    """See that what was just loaded is stored as it should be; return what `took` says."""
    try:
        stored = json.loads(redis.get(key) or "")
        took, value = stored["took"], stored["value"]
    except (ValueError, KeyError, TypeError):
        raise Incorrect('There should be JSON with "value" and "took" under key.') from None
    if not same(value, new):
        raise Incorrect(
            f'"value" should be what load() has just returned, {new!r}. It is {shown(value)}.'
        )
    if not isinstance(took, int | float) or isinstance(took, bool):
        raise Incorrect(f'"took" should be a number of seconds. It is {shown(took)}.')
    if not ttl - PATIENCE <= (left := redis.pttl(key) / 1000) <= ttl:
        raise Incorrect(f"ttl is {ttl} s, but the key's TTL is {left:,.1f} s.")
    return took


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike, and of one type: 0 is not False."""
    return type(one) is type(other) and one == other


EXERCISE = Exercise(
    title="Renew early",
    minutes=10,
    prompt="Write renewing: a value that is renewed before its end, by chance.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Ask for the value and for PTTL. Nothing there: load. Else early(...) decides.",
        "PTTL is in milliseconds, and early wants seconds: what is left, not ttl.",
        "Note time.monotonic() before and after load(); store both with json.dumps and ex=ttl.",
    ],
    wrong=[
        (
            changed(SOLUTION, 'not early(left, found["took"], random.random())', "True"),
            "nearly all should",
        ),
        (changed(SOLUTION, "pttl(key) / 1000", "pttl(key)"), "PTTL tells milliseconds"),
        (
            changed(
                SOLUTION,
                'early(left, found["took"], random.random())',
                'left < found["took"]',
            ),
            "200 of 200 callers renewed",
        ),
        (changed(SOLUTION, "time.monotonic() - started", "0"), '"took" is 0'),
        (changed(SOLUTION, "early(left,", "early(ttl,"), ": 0 of 200 callers"),
        (
            changed(
                SOLUTION,
                'if not early(left, found["took"], random.random()):\n'
                '            return found["value"]\n',
                'if early(left, found["took"], random.random()):\n'
                "            return await load()\n"
                '        return found["value"]\n',
            ),
            "has just returned, 'new'. It is 'old'",
        ),
        (
            changed(SOLUTION, "if not early(left", 'if found["value"] and not early(left'),
            "renewed the value None",
        ),
    ],
    equal={
        "a4d697a2": "a thousandth more or less of what is left does not change who renews",
        "74455189": "a thousandth more or less of what is left does not change who renews",
    },
    praise="One caller pays now and then, and nobody else waits.",
)
