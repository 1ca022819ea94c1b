"""Exercise 04f-1: renew early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

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


async def check(rd: Place, renewing: Callable[..., Any]) -> None:
    """A miss; far from the end; near the end; half way between, counted against the formula."""
    key, loads = "ex1:key", 0

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
    ],
    praise="One caller pays now and then, and nobody else waits.",
)
