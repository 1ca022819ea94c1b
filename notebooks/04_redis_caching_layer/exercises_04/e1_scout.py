"""Exercise 04e-1: one scout."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from exercises_04.common import PATIENCE, ended, shown
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
INIT = "        self.cooldown, self.until = cooldown, 0\n"
BODY = """\
        if self.scouting or time.monotonic() < self.until:
            return None
        first = self.scouting = self.until > 0  # half open: this call goes first
        try:
            value = await ask()
        except redis.RedisError:
            self.until = time.monotonic() + self.cooldown
            return None
        finally:
            if first:
                self.scouting = False
        if first:
            self.until = 0
        return value
"""
SOLUTION = changed(
    STARTER, "        return ...\n", BODY, INIT, INIT + "        self.scouting = False\n"
)
# A success from before the failure closes it, and a scout that hangs is not the only one.
RENEWS = """\
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


class Asked:
    """What a breaker protects: counts who asks, and answers or fails when the gate opens."""

    def __init__(self, result: Any) -> None:
        """Args: what every call returns, or raises when it is an exception."""
        self.result, self.count, self.gate = result, 0, asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        """Ask once."""
        self.count += 1
        result = self.result
        await self.gate.wait()
        if isinstance(result, BaseException):
            raise result
        return result


class TooSlow(Exception):
    """The machine took longer than the cooldown, so that this tells nothing."""


class Quiet:
    """The time in which nobody may ask; it begins at its making."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began = seconds, time.monotonic()

    def holds(self) -> bool:
        """Whether this time was not over a moment ago. Raises TooSlow: it may have been."""
        if time.monotonic() - self.began > 0.9 * self.seconds:
            raise TooSlow
        return True

    async def over(self) -> None:
        """Wait until it is over for sure."""
        while time.monotonic() - self.began < 1.02 * self.seconds:
            await asyncio.sleep(0.01)


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


async def waiting(breaker: Any, asked: Asked) -> asyncio.Task[Any]:
    """Start a call that has no answer yet."""
    asked.gate.clear()
    task: asyncio.Task[Any] = asyncio.ensure_future(breaker.call(asked))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def check(Breaker: type[Any]) -> None:
    """Go through what can happen to a breaker, each on a new one; slower on a slow machine."""
    with running("Your class"):
        await check_closed(Breaker)
        for step in (check_failures, check_scouts, check_late, check_long_scout, check_gone):
            for cooldown in (0.4, 2, 10):
                try:
                    await step(Breaker, cooldown)
                    break
                except TooSlow:
                    continue


async def check_closed(Breaker: type[Any]) -> None:
    """Answers of all kinds, and errors that are not Redis'."""
    breaker = Breaker(10)
    if (answer := await breaker.call(Asked("found"))) is ...:
        raise NotAttempted("call() returns nothing yet.")
    for result in ("found", 0, "", None):
        if (answer := await breaker.call(Asked(result))) != result:
            raise Incorrect(f"ask() returned {result!r}, but call(ask) returned {shown(answer)}.")
    for error in (KeyError("a bug"), OSError("a bug"), TimeoutError("a bug")):
        try:
            await breaker.call(Asked(error))
        except type(error):
            pass
        else:
            raise Incorrect(
                f"A {type(error).__name__} in ask() is a bug, not a failure of Redis: let it "
                "through."
            )
    if await breaker.call(Asked("found")) != "found":
        raise Incorrect("After an error that is not Redis', the breaker should stay closed.")
    count, _, _ = await crowd(breaker, Asked("found"))
    if count != 20:
        raise Incorrect(f"All was well, but {20 - count} of 20 callers at once waited in line.")


async def stays_away(breaker: Any, quiet: Quiet, when: str) -> None:
    """See that a call does not ask."""
    asked = Asked("found")
    answer = await breaker.call(asked)
    if (asked.count or answer is not None) and quiet.holds():
        raise Incorrect(f"{when} a call asked. It should stay away and get None.")


async def check_failures(Breaker: type[Any], cooldown: float) -> None:
    """Every kind of failure of Redis begins a quiet time, and only for its own breaker."""
    from redis import exceptions

    kinds = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ResponseError)
    for kind in (*kinds, exceptions.RedisError):
        breaker, other = Breaker(cooldown), Breaker(cooldown)
        quiet = Quiet(cooldown)
        if (answer := await breaker.call(Asked(kind("away")))) is not None:
            raise Incorrect(f"ask() failed; call(ask) should return None, not {shown(answer)}.")
        await stays_away(breaker, quiet, "Just after a failure")
        if await other.call(Asked("found")) != "found":
            raise Incorrect("Two breakers know of each other: one's failure stopped the other.")


async def check_scouts(Breaker: type[Any], cooldown: float) -> None:
    """A scout that fails, one whose error is not Redis', and one that succeeds."""
    from redis.exceptions import ConnectionError as Away

    breaker, quiet = Breaker(cooldown), Quiet(cooldown)
    await breaker.call(Asked(Away("away")))
    quiet = Quiet(cooldown)
    await quiet.over()
    asked = Asked(Away("away"))
    scout = await waiting(breaker, asked)
    await asyncio.sleep(0.6 * cooldown)  # the next quiet time counts from the failure, not from now
    quiet = Quiet(cooldown)
    asked.gate.set()
    await ended([scout], "The call that goes first")
    await asyncio.sleep(0.6 * cooldown)
    await stays_away(breaker, quiet, "Less than a cooldown after the failure of the first call")
    await quiet.over()
    good = Asked("found")
    count, early, results = await crowd(breaker, good)
    if count != 1:
        raise Incorrect(
            f"When the time was over, {count} of 20 callers asked. One goes first; "
            "the others do not ask as long as it has no answer."
        )
    if early != 19:
        raise Incorrect(f"{19 - early} callers waited for the first. They get None at once.")
    if results.count("found") != 1:
        raise Incorrect("The call that goes first should get what ask() returned.")
    count, _, _ = await crowd(breaker, good)
    if count != 20:
        raise Incorrect(
            f"The first call succeeded, but only {count} of the next 20 asked. Close the breaker."
        )
    await breaker.call(Asked(Away("away")))
    await Quiet(cooldown).over()
    await breaker.call(Asked(None))
    count, _, _ = await crowd(breaker, good)
    if count != 20:
        raise Incorrect("The first call got None, which Redis says of a missing key. It succeeded.")


async def check_late(Breaker: type[Any], cooldown: float) -> None:
    """Answers of calls that began before the failure."""
    from redis.exceptions import ConnectionError as Away

    breaker, good, bad = Breaker(cooldown), Asked("found"), Asked(Away("away"))
    early_good, early_bad = await waiting(breaker, good), await waiting(breaker, bad)
    quiet = Quiet(cooldown)
    await breaker.call(Asked(Away("away")))
    good.gate.set()
    if await ended([early_good], "A call") != ["found"]:
        raise Incorrect("A call that began before the failure should get what ask() returned.")
    await stays_away(breaker, quiet, "A call from before the failure ended well, and then")
    await asyncio.sleep(0.5 * cooldown)
    quiet = Quiet(cooldown)
    bad.gate.set()
    await ended([early_bad], "A call")
    await asyncio.sleep(0.6 * cooldown)
    await stays_away(breaker, quiet, "Less than a cooldown after the second of two failures")


async def check_long_scout(Breaker: type[Any], cooldown: float) -> None:
    """A scout that takes longer than the cooldown, as when Redis hangs."""
    from redis.exceptions import ConnectionError as Away

    breaker, slow, early = Breaker(cooldown), Asked("found"), Asked("found")
    before = await waiting(breaker, early)
    await breaker.call(Asked(Away("away")))
    await Quiet(cooldown).over()
    scout = await waiting(breaker, slow)
    await Quiet(cooldown).over()
    asked = Asked("found")
    for last in (False, True):
        if last:  # a call from before the failure ends, which says nothing of the first call
            early.gate.set()
            await ended([before], "A call")
        second = asyncio.ensure_future(breaker.call(asked))
        await asyncio.wait([second], timeout=PATIENCE / 10)
        if not second.done() or asked.count:
            slow.gate.set()
            await ended([scout, second], "A call")
            raise Incorrect(
                "The first call had no answer for longer than a cooldown, and another one "
                f"{'asked' if asked.count else 'waited for it'}. As long as it has none, the "
                "others get None at once."
            )
    slow.gate.set()
    await ended([scout], "The call that goes first")


async def check_gone(Breaker: type[Any], cooldown: float) -> None:
    """A scout that is cancelled has no answer, ever: somebody else goes."""
    from redis.exceptions import TimeoutError as Late

    breaker, slow = Breaker(cooldown), Asked("found")
    await breaker.call(Asked(Late("no answer")))
    await Quiet(cooldown).over()
    scout = await waiting(breaker, slow)
    scout.cancel()
    await asyncio.wait([scout], timeout=PATIENCE / 10)
    slow.gate.set()
    await Quiet(cooldown).over()
    with suppress(KeyError):
        if await breaker.call(Asked(KeyError("a bug"))) is None:
            raise Incorrect(
                "The one who went first was cancelled, and a cooldown later still nobody asks."
            )
    await Quiet(cooldown).over()
    if await breaker.call(Asked("found")) != "found":
        raise Incorrect(
            "The one who went first got a KeyError, and a cooldown later still nobody asks."
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
        first = self.scouting = self.until > 0
        try:
            value = await ask()
        except redis.RedisError:
            self.until, self.scouting = time.monotonic() + self.cooldown, False
            return None
        except Exception:
            self.scouting = False
            raise
        if first:
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
        "goes first. Before it awaits anything it must keep the others away, by a flag.",
        "However the first call ends, also cancelled, its flag goes: finally. Only when the first "
        "call succeeds does it set self.until to 0.",
    ],
    wrong=[
        (changed(SOLUTION, "self.scouting or ", ""), "One goes first"),
        (
            changed(SOLUTION, "        if first:\n            self.until = 0\n", ""),
            "Close",
        ),
        (
            changed(SOLUTION, "except redis.RedisError", "except Exception"),
            "A KeyError in ask() is",
        ),
        ("\nimport asyncio\n" + changed(STARTER, "        return ...\n", LOCKED), "waited in line"),
        (
            changed(SOLUTION, "redis.RedisError", "redis.ConnectionError"),
            "raised TimeoutError",
        ),
        (changed(STARTER, "        return ...\n", FLAG), "was cancelled"),
        (changed(STARTER, "        return ...\n", RENEWS), "ended well, and then"),
        (
            changed(
                SOLUTION,
                "        except redis.RedisError:\n"
                "            self.until = time.monotonic() + self.cooldown\n",
                "        except redis.RedisError:\n"
                "            self.until = began + self.cooldown\n",
                "        try:\n",
                "        began = time.monotonic()\n        try:\n",
            ),
            "after the failure of the first call",
        ),
        (
            changed(
                SOLUTION,
                "if self.scouting or time.monotonic() < self.until:\n            return None\n",
                "if time.monotonic() < self.until:\n            return None\n"
                "        if self.until:\n"
                "            self.until = time.monotonic() + self.cooldown\n",
            ),
            "for longer than a cooldown",
        ),
        (
            changed(
                SOLUTION,
                "        if first:\n            self.until = 0\n",
                "        if first and value:\n            self.until = 0\n",
            ),
            "says of a missing key",
        ),
    ],
    equal={
        "590a4937": "the very moment of the end may belong to either side",
        "f83a97ca": "until is a clock's reading, above 1",
        "80694e74": "below 0 is as closed as 0",
    },
    praise="One caller finds out for all, when Redis goes and when it comes back.",
)
