"""Exercise 04e-1: one scout."""

from __future__ import annotations

import asyncio
from typing import Any

from exercises_04.common import ended
from helpers.exercises import Exercise, Incorrect, NotAttempted
from helpers.exercises.cells import changed
from helpers.exercises.running import running

STARTER = '''
class Breaker:
    """Lets nobody ask for so many seconds after a failure; then one goes first."""

    def __init__(self, cooldown):
        self.cooldown, self.until = cooldown, 0

    async def call(self, ask):
        """Return await ask(), or None while Redis is left alone or fails."""
        return ...


await ex1.check()
'''
BODY = """\
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
HALF = """\
        if self.until:  # half open: this call goes first, the others stay away
            self.until = time.monotonic() + self.cooldown
"""
SOLUTION = STARTER.replace("        return ...\n", BODY)


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


async def check(Breaker: type[Any]) -> None:
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


LOCKED = """\
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
FLAG = """\
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


EXERCISE = Exercise(
    title="One scout",
    minutes=11,
    prompt="Write a breaker that lets one call go first when its time is over.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "The section's Breaker is the frame: return None early, else try. The new part comes "
        "between the two.",
        "self.until is 0 while all is well. If it is not, and its time is over, this call "
        "goes first. Before it awaits anything it must keep the others away.",
        "The one that goes first sets self.until to now plus cooldown. When it succeeds, it "
        "sets self.until to 0.",
    ],
    wrong=[
        (changed(SOLUTION, HALF, ""), "One goes first"),
        (
            changed(SOLUTION, "        self.until = 0\n        return", "        return"),
            "Close",
        ),
        (changed(SOLUTION, "except redis.RedisError", "except Exception"), "is a bug"),
        ("\nimport asyncio\n" + changed(SOLUTION, BODY, LOCKED), "waited in line"),
        (
            changed(SOLUTION, "redis.RedisError", "redis.ConnectionError"),
            "raised TimeoutError",
        ),
        (changed(SOLUTION, BODY, FLAG), "was cancelled"),
    ],
    praise="One caller finds out for all, when Redis goes and when it comes back.",
)
