"""Tests of cache.py against a Redis that they may write to.

REDIS_URL=redis://localhost:6379/15 python -m pytest test_cache.py

Each test has a prefix of its own, "test-cache-" and a random number. It refuses to begin where
such keys exist already, and removes what it made.
"""

import asyncio
import contextvars
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cache import Cache, NotInvalidated, decode, encode
from redis.crc import key_slot
from redis.exceptions import RedisError

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/15")
NOWHERE = "redis://127.0.0.1:1/0"  # nothing listens there
Test = Callable[[Cache], Awaitable[None]]


def run(test: Test, url: str = URL, **options: Any) -> None:
    """Run a test with a cache of its own, and remove its keys."""

    async def main() -> None:
        options.setdefault("timeout", 5)
        cache = Cache(url, prefix=f"test-cache-{uuid.uuid4()}", **options)
        try:
            assert url != URL or not await keys(cache), "these keys are somebody else's"
            await asyncio.wait_for(test(cache), 120)
        finally:
            if url == URL:
                for key in await keys(cache):
                    await cache.client.delete(key)
            await cache.close()

    asyncio.run(main())


async def keys(cache: Cache) -> list[bytes]:
    return sorted([key async for key in cache.client.scan_iter(f"{cache.prefix}*", count=1000)])


class Source:
    """A function to cache: counts its runs, and stops at a gate."""

    def __init__(self, *results: Any) -> None:
        self.results, self.runs, self.gate = list(results), 0, asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        self.runs += 1
        result = self.results[min(self.runs, len(self.results)) - 1]
        await self.gate.wait()
        if isinstance(result, BaseException):
            raise result
        return result

    async def started(self, runs: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.runs < runs:
                await asyncio.sleep(0.001)


async def one(number: Any, other: Any = None) -> Any:
    return [str(number), str(other)]


async def two(number: Any, other: Any = None) -> None: ...


def test_keys() -> None:
    async def main(cache: Cache) -> None:
        first, second = cache.cached(60)(one), cache.cached(60)(two)
        calls: list[tuple[Any, ...]] = [(1,), ("1",), ("1:2",), ("1", "2"), (None,), ("None",)]
        calls += [(True,), (1.5,), (Decimal(1),), (uuid.UUID(int=1),), (datetime(2025, 1, 1),)]
        found = {function.key(*call) for function in (first, second) for call in calls}
        assert len(found) == 2 * len(calls)
        assert first.key(1) == first.key(number=1) == first.key(1, other=None)
        assert first.key(1) == f"{cache.prefix}:{__name__}.one:[1, null]"
        assert cache.cached(60, name="shop.one")(one).key(1) == f"{cache.prefix}:shop.one:[1, null]"
        long = first.key("x" * 190), first.key("x" * 191), first.key("x" * 10_000)
        assert long[0].endswith(':["' + "x" * 190 + '", null]')
        assert "sha256-" in long[1]
        assert len(set(long)) == 3
        assert len(long[2]) == len(long[1]) < 400
        for wrong in (object(), [1], {"a": 1}, (1,), b"1", float("nan")):
            kind = type(wrong).__name__
            with pytest.raises(TypeError, match=f"^cannot make a key of number: {kind}."):
                first.key(wrong)

    run(main)


def test_functions_that_have_no_name_of_their_own_need_one() -> None:
    async def main(cache: Cache) -> None:
        def for_tenant(tenant: str, name: str | None) -> Any:
            @cache.cached(60, name=name)
            async def price() -> str:
                return f"{tenant}'s secret"

            return price

        with pytest.raises(TypeError, match=r"price does not tell .* name=\.\.\."):
            for_tenant("ada", None)
        ada, bea = for_tenant("ada", "ada.price"), for_tenant("bea", "bea.price")
        for _ in range(2):
            assert [await ada(), await bea()] == ["ada's secret", "bea's secret"]

    run(main)


def test_a_decorated_function() -> None:
    async def main(cache: Cache) -> None:
        cached = cache.cached(60)(one)
        assert cached.__name__ == "one"
        for _ in range(2):
            assert await cached(1, other="a") == ["1", "a"]
        assert (cache.hits, cache.misses) == (1, 1)
        await cached.invalidate(1, other="a")
        assert await cached(1, "a") == ["1", "a"]
        assert (cache.hits, cache.misses, cache.failures) == (1, 2, 0)
        again = cache.cached(60, 1)(two)
        assert await again(1) is None
        assert 0 < await cache.client.pttl(again.key(1)) <= 1_000

    run(main)


@pytest.mark.parametrize("value", [None, 0, "", [], False, {"a": [1, None]}])
def test_every_value_is_a_hit(value: Any) -> None:
    async def main(cache: Cache) -> None:
        source, key = Source(value), f"{cache.prefix}:key"
        assert [await cache.fetch(key, source, 60) for _ in range(3)] == [value] * 3
        assert (source.runs, cache.hits, cache.misses) == (1, 2, 1)
        await cache.invalidate(key)
        assert await cache.fetch(key, source, 60) == value
        assert source.runs == 2

    run(main)


def test_none_has_a_time_of_its_own() -> None:
    async def main(cache: Cache) -> None:
        for value, ttl_none, seconds in [(None, 5, 5), (None, None, 60), (0, 5, 60)]:
            key = f"{cache.prefix}:{value}:{ttl_none}"
            await cache.fetch(key, Source(value), 60, ttl_none)
            assert seconds - 4 < await cache.client.pttl(key) / 1000 <= seconds

    run(main)


class Status(StrEnum):
    OPEN = "open"


class Level(IntEnum):
    HIGH = 3


class Label(str):
    __slots__ = ()


def test_codec() -> None:
    moment = datetime(2025, 3, 24, 12, tzinfo=UTC)
    for value in [Decimal("1.10"), moment, uuid.uuid4(), {"a": [Decimal("0.1"), None]}, "é\ud800"]:
        again = decode(encode(value))
        assert again == value
        assert type(again) is type(value)
        assert decode(encode(value).encode()) == value
    berlin = datetime(2025, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    endless: list[Any] = []
    endless.append(endless)
    wrong = [(1, 2), {1: "a"}, {"$decimal": "1"}, {"$decimal": "boom"}, {1, 2}, object(), berlin]
    wrong += [Status.OPEN, [Level.HIGH], Label("a"), [Label("a")], {"a": Label("a")}, endless]
    for value in [*wrong, {Label("a"): 1}, float("nan"), {"a": {"$datetime": 5}}]:
        with pytest.raises(TypeError, match=r"^the (cache cannot store|value would come back)"):
            encode(value)
    with pytest.raises(TypeError, match="cannot store a set"):
        encode([{1}])


DAMAGED: list[str | bytes] = ["", "{", "\x00", b"\x80\x04\x95.", b"\xff\xfe1\x00", "[" * 100_000]
DAMAGED += ['{"$decimal": []}', '{"$decimal": "1.1O"}', '{"price": {"$decimal": ""}}']
DAMAGED += ['{"$decimal": {}}', '{"$decimal": null}', '{"$datetime": "yesterday"}']
DAMAGED += ['{"$datetime": 5}', '{"$uuid": 5}', '{"$uuid": "5"}']


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:20]))
def test_a_damaged_value_is_replaced(text: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("good"), f"{cache.prefix}:damaged"
        await cache.client.set(key, text)
        assert await cache.fetch(key, source, 60) == "good"
        assert await cache.client.get(key) == b'"good"'
        assert (cache.hits, cache.misses, cache.failures) == (0, 1, 0)
        assert "is damaged" in caplog.text

    with pytest.raises(ValueError, match="not what encode"):
        decode(text)
    run(main)


def test_what_cannot_be_stored_is_returned(caplog: pytest.LogCaptureFixture) -> None:
    async def main(cache: Cache) -> None:
        source, key = Source((1, 2)), f"{cache.prefix}:tuple"
        others = [Cache(URL, prefix=cache.prefix, timeout=5) for _ in range(5)]
        begun = time.monotonic()
        for _ in range(3):
            assert await cache.fetch(key, source, 60) == (1, 2)
        assert source.runs == 3
        # Processes that wait for it do not compute it one after the other.
        source.gate.clear()
        waiting = [asyncio.ensure_future(c.fetch(key, source, 60)) for c in [cache, *others]]
        await source.started(4)
        source.gate.set()
        assert await asyncio.gather(*waiting) == [(1, 2)] * 6
        assert time.monotonic() - begun < 5
        assert not await cache.client.exists(key)
        assert len([r for r in caplog.records if "not cached" in r.getMessage()]) <= 2
        for other in others:
            await other.close()

    run(main)


def test_nobody_waits_in_line_for_what_fails() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source(OSError("away")), f"{cache.prefix}:fails"
        names = cache._names(key)
        with pytest.raises(OSError, match="away"):
            await cache.fetch(key, source, 60)
        assert await cache.client.get(names[1]) == b"given up"
        assert 0 < await cache.client.pttl(names[1]) <= 1_000
        with pytest.raises(OSError, match="away"):
            await cache.fetch(key, source, 60)
        assert (source.runs, cache.misses) == (2, 2)

    run(main)


def test_callers_do_not_share_what_they_may_change() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source(["a"]), f"{cache.prefix}:own"
        for _ in range(2):  # from the function, and from Redis
            found = await asyncio.gather(*(cache.fetch(key, source, 60) for _ in range(3)))
            for number, value in enumerate(found):
                value.append(number)
            assert found == [["a", 0], ["a", 1], ["a", 2]]

    run(main)


def test_a_crowd_in_three_processes_runs_once() -> None:
    async def main(cache: Cache) -> None:
        others = [Cache(URL, prefix=cache.prefix, timeout=5) for _ in range(2)]
        source, key = Source("value"), f"{cache.prefix}:crowd"
        source.gate.clear()
        crowd = [
            asyncio.ensure_future(one.fetch(key, source, 60))
            for one in [cache, *others]
            for _ in range(100)
        ]
        await source.started()
        crowd[0].cancel()
        await asyncio.sleep(0.1)
        source.gate.set()
        results = await asyncio.gather(*crowd[1:])
        assert set(results) == {"value"}
        assert source.runs == 1
        assert crowd[0].cancelled()
        assert not cache.flights
        assert not await cache.client.exists(cache._names(key)[1])
        for other in others:
            await other.close()

    run(main)


def test_more_callers_than_connections() -> None:
    async def main(cache: Cache) -> None:
        sources = [Source(number) for number in range(60)]
        for _ in range(2):
            calls = (cache.fetch(f"{cache.prefix}:{s.results}", s, 60) for s in sources)
            assert await asyncio.gather(*calls) == list(range(60))
        assert (cache.hits, cache.misses, cache.failures) == (60, 60, 0)
        number = str(cache.client.connection_pool.connection_kwargs.get("db", 0))
        clients = [one for one in await cache.client.client_list() if one["db"] == number]
        assert len(clients) < 20  # those of this database: others may use the server too

    run(main, connections=3)


def test_when_every_connection_is_in_use_the_function_answers() -> None:
    async def main(cache: Cache) -> None:
        for _ in range(2):
            await cache.slots.acquire()
        begun, key = time.monotonic(), f"{cache.prefix}:full"
        assert await cache.fetch(key, Source("value"), 60) == "value"
        assert 0.8 <= time.monotonic() - begun < 3
        assert (cache.failures, cache.open_until) == (0, 0)  # Redis is well
        assert await cache.allow("somebody", 1, 60) == 0
        with pytest.raises(NotInvalidated, match="Crowded"):
            await cache.invalidate(key)
        for _ in range(2):
            cache.slots.release()
        assert await cache.fetch(key, Source("value"), 60) == "value"
        assert await cache.client.exists(key)

    run(main, connections=2, timeout=0.2)


def test_an_error_is_told_and_forgotten() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source(OSError("away"), "value"), f"{cache.prefix}:error"
        results = await asyncio.gather(
            *(cache.fetch(key, source, 60) for _ in range(5)), return_exceptions=True
        )
        assert [str(result) for result in results] == ["away"] * 5
        assert source.runs == 1
        assert await cache.fetch(key, source, 60) == "value"

    run(main)


def test_a_computation_that_is_cancelled_gives_its_lease_back() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source(asyncio.CancelledError(), "value"), f"{cache.prefix}:gone"
        with pytest.raises(asyncio.CancelledError):
            await cache.fetch(key, source, 60)
        assert await cache.client.get(cache._names(key)[1]) == b"given up"
        assert not cache.flights

    run(main)


def test_a_value_from_before_an_invalidation_is_not_stored() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("old", "new"), f"{cache.prefix}:race"
        source.gate.clear()
        slow = asyncio.ensure_future(cache.fetch(key, source, 60))
        await source.started()
        await cache.invalidate(key)
        late = asyncio.ensure_future(cache.fetch(key, source, 60))
        await source.started(2)
        source.gate.set()
        assert await slow == "old"  # it was asked before
        assert await late == "new"
        assert await cache.fetch(key, source, 60) == "new"
        assert source.runs == 2

    run(main)


def test_an_old_flight_does_not_end_a_newer_one() -> None:
    async def main(cache: Cache) -> None:
        old, new, key = Source("old"), Source("new"), f"{cache.prefix}:flights"
        old.gate.clear()
        new.gate.clear()
        first = asyncio.ensure_future(cache.fetch(key, old, 60))
        await old.started()
        await cache.invalidate(key)
        second = asyncio.ensure_future(cache.fetch(key, new, 60))
        await new.started()
        old.gate.set()
        assert await first == "old"
        await asyncio.sleep(0)
        assert list(cache.flights) == [key]
        third = asyncio.ensure_future(cache.fetch(key, new, 60))
        await asyncio.sleep(0.05)
        new.gate.set()
        assert await asyncio.gather(second, third) == ["new", "new"]
        assert new.runs == 1

    run(main)


def test_a_call_after_an_invalidation_does_not_join_one_from_during_it() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("old", "new"), f"{cache.prefix}:order"
        assert await cache.fetch(key, source, 60) == "old"
        look_up, delete, during = cache._look_up, cache.client.delete, []
        has_read, go_on = asyncio.Event(), asyncio.Event()

        async def slow_look_up(key: str, token: str) -> Any:
            answer = await look_up(key, token)
            has_read.set()
            await go_on.wait()
            return answer

        async def slow_delete(*names: str) -> Any:
            during.append(asyncio.ensure_future(cache.fetch(key, source, 60)))
            await has_read.wait()  # it has read the old value, and is still under way
            return await delete(*names)

        cache._look_up = slow_look_up  # type: ignore[method-assign]
        cache.client.delete = slow_delete  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            await cache.invalidate(key)
            after = asyncio.ensure_future(cache.fetch(key, source, 60))
            await asyncio.sleep(0)
            go_on.set()
            assert await during[0] == "old"
            assert await after == "new"
        cache.client.delete = delete  # type: ignore[method-assign]

    run(main)


def test_the_age_counts_from_before_the_load() -> None:
    async def main(cache: Cache) -> None:
        key = f"{cache.prefix}:age"

        async def slow() -> str:
            await asyncio.sleep(0.3)
            return "value"

        await cache.fetch(key, slow, ttl=0.2)
        assert not await cache.client.exists(key)
        await cache.invalidate(key)
        await cache.fetch(key, slow, ttl=60)
        assert 50_000 < await cache.client.pttl(key) <= 59_700

    run(main)


def test_a_holder_that_died_is_replaced() -> None:
    async def main(cache: Cache) -> None:
        key = f"{cache.prefix}:dead"
        await cache.client.set(cache._names(key)[1], "somebody", px=300)
        begun = time.monotonic()
        assert await cache.fetch(key, Source("value"), 60) == "value"
        assert 0.1 < time.monotonic() - begun < 5
        assert await cache.client.get(key) == b'"value"'

    run(main)


def test_a_lease_ends_by_itself_and_nobody_waits_longer(caplog: pytest.LogCaptureFixture) -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("value"), f"{cache.prefix}:lease"
        source.gate.clear()
        slow = asyncio.ensure_future(cache.fetch(key, source, 60))
        await source.started()
        assert 0 < await cache.client.pttl(cache._names(key)[1]) <= 400
        await cache.client.set(cache._names(key)[1], "somebody")  # for ever
        other = Cache(URL, prefix=cache.prefix, timeout=5, lease=0.4)
        begun = time.monotonic()
        assert await other.fetch(key, Source("other"), 60) == "other"
        assert 0.35 < time.monotonic() - begun < 5
        await other.close()
        source.gate.set()
        assert await slow == "value"
        assert not await cache.client.exists(key)
        assert "longer than the lease" in caplog.text

    run(main, lease=0.4)


def test_commands_that_were_sent_twice_count_once() -> None:
    async def main(cache: Cache) -> None:
        names = cache._names(f"{cache.prefix}:twice")
        for _ in range(2):
            assert (await cache._read(keys=names, args=["token", 5_000]))[0] == b"yours"
        assert (await cache._read(keys=names, args=["other", 5_000]))[0] == b"wait"
        for _ in range(2):
            assert await cache._allow(keys=[f"{cache.prefix}:limit"], args=[1, 5_000, "a"]) == 0
        assert await cache._allow(keys=[f"{cache.prefix}:limit"], args=[1, 5_000, "b"]) > 0

    run(main)


def test_without_redis(caplog: pytest.LogCaptureFixture) -> None:
    async def main(cache: Cache) -> None:
        source = Source("value")
        begun = time.monotonic()
        assert [await cache.fetch("key", source, 60) for _ in range(5)] == ["value"] * 5
        assert cache.failures == 1  # the breaker is open after the first
        assert 0 < cache.open_until - begun - 60 < 10
        assert await cache.allow("somebody", 1, 60) == 0
        assert cache.failures == 1
        assert cache.misses == 0
        with pytest.raises(NotInvalidated, match="ConnectionError") as told:
            await cache.invalidate("key")
        assert isinstance(told.value, RedisError)
        assert cache.failures == 2
        cache.open_until = 0.0
        assert await cache.allow("somebody", 1, 60) == 0
        assert cache.failures == 3
        assert cache.open_until > time.monotonic() + 50
        assert "left alone for 60 s: ConnectionError" in caplog.text
        assert "127.0.0.1" not in caplog.text + str(told.value) + repr(told.value)

    run(main, NOWHERE, cooldown=60)


def test_redis_hangs() -> None:
    async def main(cache: Cache) -> None:
        for ask in [
            lambda: cache.fetch("key", Source("value"), 60),
            lambda: cache.allow("a", 1, 1),
        ]:
            cache.open_until, begun = 0.0, time.monotonic()
            assert await ask() in ("value", 0)
            assert 0.1 < time.monotonic() - begun < 2
            assert await ask() in ("value", 0)  # at once: the breaker is open
        assert cache.failures == 2
        with pytest.raises(NotInvalidated, match="TimeoutError"):
            await cache.invalidate("key")

    async def silent() -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        cache = Cache(f"redis://127.0.0.1:{port}", timeout=0.2)
        async with asyncio.timeout(10):
            await main(cache)
        await cache.close()
        server.close()

    asyncio.run(silent())


def test_connections_that_the_server_closed_are_opened_again() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("old", "new"), f"{cache.prefix}:closed"

        async def close_all() -> None:
            for connection in cache.client.connection_pool._available_connections:
                connection._writer.close()

        assert await cache.fetch(key, source, 60) == "old"
        await close_all()
        await cache.invalidate(key)
        await close_all()
        assert await cache.fetch(key, source, 60) == "new"
        await close_all()
        assert await cache.allow("somebody", 1, 60) == 0
        assert cache.failures == 0

    run(main)


def test_a_refusal_of_redis_is_no_reason_to_leave_it_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(cache: Cache) -> None:
        key, good = f"{cache.prefix}:list", f"{cache.prefix}:good"
        await cache.client.lpush(key, "of another type")
        for _ in range(3):
            assert await cache.fetch(key, Source("value"), 60) == "value"
        assert (cache.failures, cache.open_until) == (3, 0)
        assert len([r for r in caplog.records if "WRONGTYPE" in r.getMessage()]) == 1
        assert await cache.fetch(good, Source("value"), 60) == "value"
        assert await cache.client.exists(good)

    run(main)


def test_the_limit_holds_for_a_crowd() -> None:
    async def main(cache: Cache) -> None:
        waits = await asyncio.gather(*(cache.allow("crowd", 10, 60) for _ in range(200)))
        assert waits.count(0) == 10
        assert all(50 < wait <= 60 for wait in waits if wait)
        assert await cache.allow("other", 10, 60) == 0
        assert await keys(cache) == [
            f"{cache.prefix}:limit:{name}".encode() for name in ("crowd", "other")
        ]
        assert 50_000 < await cache.client.pttl(f"{cache.prefix}:limit:crowd") <= 60_000
        assert await cache.allow("nobody", 0, 30) == 30.0
        assert cache.failures == 0

    run(main)


def test_the_window_slides() -> None:
    async def main(cache: Cache) -> None:
        assert await cache.allow("name", 2, 0.6) == 0
        await asyncio.sleep(0.3)
        assert await cache.allow("name", 2, 0.6) == 0
        begun = time.monotonic()
        wait = await cache.allow("name", 2, 0.6)
        assert 0 < wait <= 0.3
        await asyncio.sleep(wait + 0.005)
        assert await cache.allow("name", 2, 0.6) == 0
        if time.monotonic() - begun < 0.55:  # the second is still in the window
            assert await cache.allow("name", 2, 0.6) > 0

    run(main)


@pytest.mark.parametrize("what", ["fetch", "invalidate", "allow"])
def test_a_caller_that_is_cancelled_goes_at_once(what: str) -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("value"), f"{cache.prefix}:cancelled"
        await cache.fetch(key, source, 60)
        calls = {
            "fetch": lambda: cache.fetch(key, source, 60),
            "invalidate": lambda: cache.invalidate(key),
            "allow": lambda: cache.allow("name", 1, 60),
        }
        for _ in range(2):
            await cache.slots.acquire()  # so that it has to wait
        task = asyncio.ensure_future(calls[what]())
        await asyncio.sleep(0.02)
        assert len(cache.tasks) + len(cache.flights) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(2):
            cache.slots.release()
        async with asyncio.timeout(5):
            while cache.tasks or cache.flights:
                await asyncio.sleep(0.01)
        assert await cache.client.exists(key) == (what != "invalidate")

    run(main, connections=2)


def test_who_computes_runs_in_the_first_callers_context() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    async def main(cache: Cache) -> None:
        async def who() -> str:
            await asyncio.sleep(0.05)
            return user.get()

        async def call(name: str) -> Any:
            user.set(name)
            return await cache.fetch(f"{cache.prefix}:context", who, 60)

        assert await asyncio.gather(*(call(name) for name in "abc")) == ["a", "a", "a"]

    run(main)


WRONG_SECONDS = [None, True, "1", [1], Decimal(1), 0, 0.0009, -1, float("nan"), float("inf"), 4e8]
WRONG_TEXTS = [None, 1, b"text", [], "", " ", "a\0b", "a\ud800", "x" * 1_001]
WRONG_LIMITS = [None, True, "1", 1.0, Decimal(1), -1, 1_000_001]


def refused(call: Callable[[], Any], names: str) -> None:
    """Assert that a call is refused by an error that names the argument."""
    with pytest.raises((TypeError, ValueError), match=f"^{names} (must|has half)"):
        call()


def test_bad_arguments_are_refused_before_anything_is_asked() -> None:
    async def main(cache: Cache) -> None:
        source = Source("value")

        def of(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
            coroutine = function(*arguments)
            return lambda: coroutine.send(None)

        for seconds in WRONG_SECONDS:
            for name in ("timeout", "cooldown", "lease"):
                refused(lambda n=name, s=seconds: Cache(URL, **{n: s}), name)  # type: ignore[misc]
            refused(lambda s=seconds: cache.cached(s), "ttl")  # type: ignore[misc]
            refused(of(cache.fetch, "key", source, seconds), "ttl")
            refused(of(cache.allow, "name", 1, seconds), "window")
            if seconds is not None:
                refused(lambda s=seconds: cache.cached(1, s), "ttl_none")  # type: ignore[misc]
                refused(of(cache.fetch, "key", source, 1, seconds), "ttl_none")
        for text in WRONG_TEXTS:
            refused(lambda t=text: Cache(t), "url")  # type: ignore[misc]
            refused(lambda t=text: Cache(URL, prefix=t), "prefix")  # type: ignore[misc]
            refused(of(cache.fetch, text, source, 1), "key")
            refused(of(cache.invalidate, text), "key")
            refused(of(cache.allow, text, 1, 1), "name")
            if text is not None:
                refused(lambda t=text: cache.cached(1, name=t), "name")  # type: ignore[misc]
        for limit in WRONG_LIMITS:
            refused(of(cache.allow, "name", limit, 1), "limit")
        for count in [*WRONG_LIMITS, 0]:
            refused(lambda c=count: Cache(URL, connections=c), "connections")  # type: ignore[misc]
        for prefix in ("a{b", "a}b"):
            refused(lambda p=prefix: Cache(URL, prefix=p), "prefix")  # type: ignore[misc]
        for function in (None, 1, len, lambda: None):
            with pytest.raises(TypeError, match=r"^cached.. takes an async function"):
                cache.cached(1)(function)
        with pytest.raises(TypeError, match=r"^load must be"):
            await cache.fetch("key", None, 1)  # type: ignore[arg-type]
        assert (source.runs, cache.hits, cache.misses, cache.failures) == (0, 0, 0, 0)
        assert not await keys(cache)

    run(main)


def test_odd_and_extreme_arguments_are_taken() -> None:
    async def main(cache: Cache) -> None:
        for text in ["'", "x" * 900, "a:b", "é😀", "{a}b", "a}b", "$1 %s"]:
            key = f"{cache.prefix}:{text}"
            assert await cache.fetch(key, Source(text), 0.001, 315_360_000) == text
            await cache.invalidate(key)
            assert await cache.allow(text, 1_000_000, 0.001) == 0
        Cache(URL, connections=1, timeout=0.001, cooldown=1, lease=1)

    run(main)


def test_a_key_and_its_lease_lie_together_in_a_cluster() -> None:
    async def main(cache: Cache) -> None:
        for key in ["a:b", "a{b}c", '["{"]{x}']:
            value, lease = cache._names(key)
            assert value == key != lease
            assert key_slot(value.encode()) == key_slot(lease.encode())

    run(main)


def test_the_log_does_not_grow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    async def main(cache: Cache) -> None:
        for number in range(1_010):
            cache._tell("line %s", number)
            cache._tell("line %s", number)
        assert len(caplog.records) == len(cache._told) == 1_000

    run(main)
