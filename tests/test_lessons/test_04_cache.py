"""What lesson 04 sends home: cache.py on good days, by its own tests, and on bad ones, by drill."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import drill
import pytest
from labs import passes_its_own_tests, run_in

from helpers import lab
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "04_redis_caching_layer"
FINAL = FOLDER / "final"
#: A cache with short limits, so that the trouble is over soon.
LIMITS: dict[str, Any] = {"timeout": 0.3, "cooldown": 0.5, "lease": 2, "prefix": "drill"}
MARGIN = 2.0  # seconds that a busy machine may need on top of a limit
SECONDS = {**drill.bad_inputs("seconds"), "zero": 0}


@pytest.fixture(scope="module")
def cache() -> Iterator[Any]:
    """The module to take home, as somebody at work imports it."""
    sys.path.insert(0, str(FINAL))
    yield __import__("cache")
    sys.path.remove(str(FINAL))
    sys.modules.pop("cache", None)


@pytest.fixture
def url() -> str:
    """An empty database on the shared Redis."""
    return str(lab.redis("94").url)


@pytest.fixture
def own() -> Any:
    """A Redis of the test's own, which it may stop."""
    return lab.redis("94", private=True)


async def load() -> str:
    """The slow function behind the cache; it is quick here."""
    await asyncio.sleep(0.001)
    return "value"


class Users:
    """Callers of one cache, each of whom does all that can be done with it."""

    def __init__(self, module: Any, url: str, **limits: Any) -> None:
        self.cache = module.Cache(url, **{**LIMITS, **limits})
        self.refused = module.NotInvalidated
        self.told = 0  # how often an invalidation said that it failed

    async def call(self) -> None:
        assert await self.cache.fetch("drill:key", load, 60) == "value"
        assert await self.cache.allow("name", 1_000_000, 60) == 0
        try:
            await self.cache.invalidate("drill:key")
        except self.refused:
            self.told += 1

    async def finish(self) -> None:
        await self.cache.close()


def with_cache(module: Any, url: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Await use(cache) in a loop of its own, and close the cache."""

    async def main() -> Any:
        cache = module.Cache(url, **LIMITS)
        try:
            return await use(cache)
        finally:
            await cache.close()

    return asyncio.run(main())


def test_the_published_file_runs() -> None:
    run = run_in(FOLDER, "-c", "import published", REDIS_URL=lab.redis("94").url)
    assert run.returncode == 0, run.stderr


def test_the_final_file_passes_its_own_tests() -> None:
    passes_its_own_tests(FINAL, "test_cache.py", REDIS_URL=lab.redis("94").url)


BAD: dict[str, tuple[str, dict[str, Any], Callable[[Any], Callable[[Any], Any]]]] = {
    "ttl of fetch": ("fetch", SECONDS, lambda c: lambda v: c.fetch("drill:k", load, v)),
    "ttl_none of fetch": (
        "fetch",
        {name: value for name, value in SECONDS.items() if name != "None"},
        lambda c: lambda v: c.fetch("drill:k", load, 1, v),
    ),
    "key of fetch": ("fetch", drill.bad_inputs("text"), lambda c: lambda v: c.fetch(v, load, 1)),
    "key of invalidate": (
        "invalidate",
        drill.bad_inputs("text"),
        lambda c: lambda v: c.invalidate(v),
    ),
    "name of allow": ("allow", drill.bad_inputs("text"), lambda c: lambda v: c.allow(v, 1, 1)),
    "limit of allow": ("allow", drill.bad_inputs("count"), lambda c: lambda v: c.allow("n", v, 1)),
    "window of allow": ("allow", SECONDS, lambda c: lambda v: c.allow("n", 1, v)),
    "ttl of cached": ("cached", SECONDS, lambda c: lambda v: c.cached(v)),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_before_anything_is_written(cache: Any, url: str, what: str) -> None:
    _, values, function = BAD[what]
    made = cache.Cache(url, **LIMITS)
    stored = drill.contents(url)
    drill.refuses(function(made), values, state=stored, secrets=drill.secrets_of(url))
    assert made.failures == 0
    assert made.open_until == 0


@pytest.mark.parametrize("name", ["timeout", "cooldown", "lease", "connections", "prefix", "url"])
def test_bad_settings_are_refused(cache: Any, url: str, name: str) -> None:
    kind = {"connections": "id", "prefix": "text", "url": "text"}.get(name, "seconds")
    values = SECONDS if kind == "seconds" else drill.bad_inputs(kind)  # type: ignore[arg-type]
    drill.refuses(lambda v: cache.Cache(**{"url": url, name: v}), values)


def test_odd_texts_are_kept(cache: Any, url: str) -> None:
    async def use(made: Any) -> None:
        @made.cached(60, name="echo")
        async def echo(text: str) -> list[str]:
            return [text]

        for text in drill.ODD_TEXTS.values():
            for _ in range(2):
                assert await echo(text) == [text]
            await echo.invalidate(text)
            assert await made.allow(text, 1, 60) == 0
            assert await made.allow(text, 1, 60) > 0

    with_cache(cache, url, use)


def test_moments_come_back(cache: Any, url: str) -> None:
    for moment in drill.MOMENTS:
        assert cache.decode(cache.encode(moment)) == moment


def test_a_slow_line(cache: Any, url: str) -> None:
    with drill.Proxy(url) as proxy:
        proxy.delay(15)
        users = Users(cache, proxy.url, timeout=2)
        found = drill.callers(20, users.call, 2, finish=users.finish)
    assert not found.errors, found
    assert not found.hanging, found
    assert (users.cache.failures, users.told) == (0, 0)
    assert users.cache.hits + users.cache.misses > 0


@pytest.mark.parametrize("trouble", ["stall", "cut", "drop"])
def test_a_line_that_breaks(cache: Any, url: str, trouble: str) -> None:
    with drill.Proxy(url) as proxy:
        users = Users(cache, proxy.url)

        def meanwhile() -> None:
            getattr(proxy, trouble)()
            if trouble == "drop":
                proxy.cut()
            time.sleep(1.5)
            proxy.restore()
            time.sleep(1)  # a cooldown

        found = drill.callers(20, users.call, 1, meanwhile=meanwhile, finish=users.finish)
    assert not found.errors, found  # fetch and allow answer; an invalidation says what happened
    assert not found.hanging, found
    assert found.after, found
    assert found.longest < 10 * LIMITS["timeout"] + MARGIN, found
    assert (users.told > 0) == (trouble != "cut"), users.told  # one lost connection is no failure


@pytest.mark.parametrize("word", ["EVALSHA", "DEL"])
@pytest.mark.parametrize("when", ["before", "answer_to"])
def test_a_command_whose_connection_is_lost(cache: Any, url: str, word: str, when: str) -> None:
    """It is sent again; what it did is done once, and nothing old comes back."""
    with drill.Proxy(url) as proxy:

        async def use(made: Any) -> None:
            assert await made.fetch("drill:lost", load, 60) == "value"
            proxy.cut(**{when: word.encode()})
            if word == "DEL":
                await made.invalidate("drill:lost")
                assert not await made.client.exists("drill:lost")
            else:
                assert await made.allow("lost", 2, 60) == 0
                assert await made.allow("lost", 2, 60) == 0
                assert await made.allow("lost", 2, 60) > 0
            assert made.failures == 0

        with_cache(cache, proxy.url, use)


def test_a_restart_while_callers_work(cache: Any, own: Any) -> None:
    users = Users(cache, own.url)

    def meanwhile() -> None:
        own.server.restart()
        time.sleep(1)

    found = drill.callers(20, users.call, 1, meanwhile=meanwhile, finish=users.finish)
    assert not found.errors, found
    assert not found.hanging, found
    assert found.after, found
    assert users.cache.hits + users.cache.misses > 0


def test_a_pause_longer_than_every_limit(cache: Any, own: Any) -> None:
    users = Users(cache, own.url)

    def meanwhile() -> None:
        with drill.paused(own.server):
            time.sleep(4)
        time.sleep(1)

    found = drill.callers(20, users.call, 1, meanwhile=meanwhile, finish=users.finish)
    assert not found.errors, found
    assert not found.hanging, found
    assert found.after, found
    assert found.longest < 10 * LIMITS["timeout"] + MARGIN, found
    assert users.told > 0


@pytest.mark.parametrize("way", drill.WAYS)
@pytest.mark.parametrize("what", ["fetch", "miss", "allow", "invalidate"])
def test_a_caller_that_goes_away(cache: Any, url: str, what: str, way: drill.cancel.Way) -> None:
    made: list[Any] = []

    def of_this_loop() -> Any:
        if not made:
            made.append(cache.Cache(url, **{**LIMITS, "connections": 2}))
        return made[0]

    async def work() -> Any:
        use = of_this_loop()
        if what == "allow":
            return await use.allow("away", 1_000_000, 60)
        if what == "invalidate":
            return await use.invalidate("drill:away")
        if what == "miss":
            use.flights.clear()
            return await use.fetch(f"drill:{time.monotonic_ns()}", load, 60)
        return await use.fetch("drill:away", load, 60)

    async def again() -> None:
        use = of_this_loop()
        calls = [use.fetch("drill:away", load, 60) for _ in range(5)]
        calls += [use.allow("away", 1_000_000, 60) for _ in range(5)]
        assert await asyncio.gather(*calls) == ["value"] * 5 + [0.0] * 5
        while use.tasks or use.flights:
            await asyncio.sleep(0.01)
        assert use.failures == 0

    async def finish() -> None:
        await of_this_loop().close()

    found = drill.survives_cancellation(work, busy=list, again=again, finish=finish, way=way)
    assert found.places


PROGRAM = """
import asyncio
from cache import Cache

async def main():
    cache = Cache(url, prefix="drill", timeout=5)
    runs = 0
    async def slow():
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.5)
        return [number]
    values = await asyncio.gather(*(cache.fetch("drill:twice", slow, 60) for _ in range(20)))
    passed = [await cache.allow("twice", 10, 60) for _ in range(10)].count(0)
    await cache.close()
    assert all(value == values[0] for value in values)
    return [runs, values[0], passed]
"""


def test_two_processes_at_once(cache: Any, url: str) -> None:
    found = drill.twice(PROGRAM, url, folder=FINAL)
    assert [one.error for one in found] == [None, None]
    assert sum(one.result[0] for one in found) == 1
    assert found[0].result[1] == found[1].result[1]
    assert sum(one.result[2] for one in found) == 10
