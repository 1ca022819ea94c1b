"""Exercises of lesson 04's later sections: a breaker, expiry, the size of a cache."""

from __future__ import annotations

import asyncio
from typing import Any

from helpers.exercises import Exercise, Incorrect, NotAttempted, running
from helpers.exercises.lesson_04_deeper import changed, ended, section

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
        ],
        praise="One caller finds out for all, when Redis goes and when it comes back.",
    ),
]
