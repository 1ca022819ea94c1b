"""Tests of final.py against a Redis that they may write to (keys that begin with "final-tests").

REDIS_URL=redis://localhost:6379/15 python -m pytest final_tests.py
"""

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from final import Cache, decode, encode
from redis.exceptions import RedisError

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/15")
NOWHERE = "redis://127.0.0.1:1/0"  # nothing listens there


def run(test: Callable[[Cache], Awaitable[None]], url: str = URL, **options: Any) -> None:
    """Run a test with a cache of its own, and remove its keys."""

    async def main() -> None:
        options.setdefault("timeout", 5)
        cache = Cache(url, prefix=f"final-tests-{uuid.uuid4()}", **options)
        try:
            await test(cache)
        finally:
            if url == URL:
                async for key in cache.client.scan_iter(match=f"{cache.prefix}*"):
                    await cache.client.delete(key)
            await cache.close()

    asyncio.run(main())


class Source:
    """A function to cache: counts its runs, and stops at a gate."""

    def __init__(self, *results: Any) -> None:
        self.results, self.runs, self.gate = list(results), 0, asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        self.runs += 1
        result = self.results[min(self.runs, len(self.results)) - 1]
        await self.gate.wait()
        if isinstance(result, Exception):
            raise result
        return result

    async def started(self, runs: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.runs < runs:
                await asyncio.sleep(0.001)


def test_keys() -> None:
    async def one(number: Any, other: Any = None) -> None: ...

    async def two(number: Any, other: Any = None) -> None: ...

    async def main(cache: Cache) -> None:
        calls = [(1,), ("1",), ("1:2",), ("1", "2"), (None,), ("None",), (True,), (1.5,)]
        keys = {cache.key(function, *call) for function in (one, two) for call in calls}
        assert len(keys) == 2 * len(calls)
        assert cache.key(one, 1) == cache.key(one, number=1) == cache.key(one, 1, other=None)
        assert len(cache.key(one, "x" * 10_000)) < 400
        with pytest.raises(TypeError, match="number: object"):
            cache.key(one, object())

    run(main)


@pytest.mark.parametrize("value", [None, 0, "", [], False, {"a": [1, None]}])
def test_every_value_is_a_hit(value: Any) -> None:
    async def main(cache: Cache) -> None:
        source = Source(value)
        assert [await cache.fetch("key", source, 60) for _ in range(3)] == [value] * 3
        assert source.runs == 1
        await cache.invalidate("key")
        assert await cache.fetch("key", source, 60) == value
        assert source.runs == 2
        await cache.invalidate("key")

    run(main)


def test_codec() -> None:
    moment = datetime(2025, 3, 24, 12, tzinfo=UTC)
    for value in [Decimal("1.10"), moment, uuid.uuid4(), {"a": [Decimal("0.1"), None]}]:
        again = decode(encode(value))
        assert again == value
        assert type(again) is type(value)
    for value in [(1, 2), {1: "a"}, {"$decimal": "1"}, {1, 2}, object()]:
        with pytest.raises(TypeError):
            encode(value)


def test_what_cannot_be_stored_is_returned() -> None:
    async def main(cache: Cache) -> None:
        source = Source((1, 2))
        assert await cache.fetch("tuple", source, 60) == (1, 2)
        assert await cache.fetch("tuple", source, 60) == (1, 2)
        assert source.runs == 2

    run(main)


def test_a_damaged_value_is_replaced() -> None:
    async def main(cache: Cache) -> None:
        source = Source("good")
        key = f"{cache.prefix}:damaged"
        for text in ["", "{", '{"$decimal": []}', '{"$datetime": "yesterday"}']:
            await cache.client.set(key, text)
            assert await cache.fetch(key, source, 60) == "good"
            assert await cache.client.get(key) == '"good"'

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
        source.gate.set()
        results = await asyncio.gather(*crowd[1:])
        assert set(results) == {"value"}
        assert source.runs == 1
        for other in others:
            await other.close()

    run(main)


def test_an_error_is_told_and_forgotten() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source(OSError("away"), "value"), f"{cache.prefix}:error"
        results = await asyncio.gather(
            *(cache.fetch(key, source, 60) for _ in range(5)), return_exceptions=True
        )
        assert [str(result) for result in results] == ["away"] * 5
        assert await cache.fetch(key, source, 60) == "value"

    run(main)


def test_a_value_from_before_an_invalidation_is_not_stored() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("old", "new"), f"{cache.prefix}:race"
        source.gate.clear()
        slow = asyncio.ensure_future(cache.fetch(key, source, 60))
        await source.started()
        await cache.invalidate(key)
        source.gate.set()
        assert await slow == "old"  # it was asked before
        assert await cache.fetch(key, source, 60) == "new"
        assert await cache.fetch(key, source, 60) == "new"

    run(main)


def test_a_call_after_an_invalidation_does_not_join_one_from_during_it() -> None:
    async def main(cache: Cache) -> None:
        source, key = Source("old", "new"), f"{cache.prefix}:order"
        assert await cache.fetch(key, source, 60) == "old"
        ask, delete, during = cache._ask, cache.client.delete, []
        has_read, go_on = asyncio.Event(), asyncio.Event()

        async def slow_ask(key: str, token: str) -> Any:
            answer = await ask(key, token)
            has_read.set()
            await go_on.wait()
            return answer

        async def slow_delete(*names: str) -> Any:
            during.append(asyncio.ensure_future(cache.fetch(key, source, 60)))
            await has_read.wait()  # it has read the old value, and is still under way
            return await delete(*names)

        cache._ask = slow_ask  # type: ignore[method-assign]
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
        await cache.fetch(key, slow, ttl=60)
        assert 0 < await cache.client.pttl(key) <= 59_700

    run(main)


def test_a_holder_that_died_is_replaced() -> None:
    async def main(cache: Cache) -> None:
        key = f"{cache.prefix}:dead"
        await cache.client.set(f"{cache.prefix}-lease:{key}", "somebody", px=200)
        assert await cache.fetch(key, Source("value"), 60) == "value"
        assert await cache.client.get(key) == '"value"'

    run(main)


def test_without_redis() -> None:
    async def main(cache: Cache) -> None:
        source = Source("value")
        assert [await cache.fetch("key", source, 60) for _ in range(5)] == ["value"] * 5
        assert cache.failures == 1  # the breaker is open after the first
        assert await cache.allow("somebody", 1, 60) == 0
        with pytest.raises(RedisError):
            await cache.invalidate("key")

    run(main, NOWHERE, cooldown=60)


def test_the_limit_holds_for_a_crowd() -> None:
    async def main(cache: Cache) -> None:
        waits = await asyncio.gather(*(cache.allow("crowd", 10, 60) for _ in range(200)))
        assert waits.count(0) == 10
        assert all(50 < wait <= 60 for wait in waits if wait)
        assert await cache.allow("other", 10, 60) == 0

    run(main)
