"""Tests of final.py against a PostgreSQL database in which they may create and drop tables.

DATABASE_URL=postgresql+psycopg://user:pass@localhost/test python -m pytest final_tests.py
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from final import (
    Account,
    Base,
    EmailTaken,
    Post,
    User,
    create_user,
    delete_user,
    get_user_with_posts,
    list_users_with_posts,
    make_engine,
    make_sessions,
    repeat,
    transfer,
    update_user,
)
from sqlalchemy import event, func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm.exc import StaleDataError

URL = os.environ.get("DATABASE_URL", "postgresql+psycopg://localhost/test")


@asynccontextmanager
async def database(**options: Any) -> AsyncIterator[Any]:
    """Give a session factory for empty tables; `statements` of it lists what was sent."""
    engine = make_engine(URL, **options)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        sessions = make_sessions(engine)
        sessions.statements = []
        event.listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda *args: sessions.statements.append(args[2]),
        )
        yield sessions
    finally:
        await engine.dispose()


def run(test: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Run a test with a database of its own."""

    async def main() -> None:
        async with database(**options) as sessions:
            await test(sessions)

    asyncio.run(main())


async def with_posts(sessions: Any, users: int, posts: int) -> None:
    async with sessions.begin() as session:
        for number in range(users):
            user = await create_user(session, f"user{number}@example.com", f"User {number}")
            for _ in range(posts):
                session.add(Post(title="t", content="c", author_id=user.id))


def test_a_user_costs_one_statement_and_comes_back_complete() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            user = await create_user(session, "alice@example.com", "Alice")
        assert len(sessions.statements) == 1
        assert (user.id, user.version, user.email) == (1, 1, "alice@example.com")
        assert user.created_at.tzinfo is not None

    run(test)


def test_a_page_costs_two_statements() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 20, 3)
        for limit in (1, 20):
            sessions.statements.clear()
            async with sessions() as session:
                users = await list_users_with_posts(session, limit)
            assert len(sessions.statements) == 2
            assert [len(user.posts) for user in users] == [3] * limit

    run(test)


def test_what_was_not_loaded_says_so() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 1, 1)
        async with sessions() as session:
            with pytest.raises(InvalidRequestError, match=r"User\.posts"):
                _ = (await session.get(User, 1)).posts
            user = await get_user_with_posts(session, 1)
        assert len(user.posts) == 1

    run(test)


def test_of_twenty_at_once_one_gets_the_address() -> None:
    async def test(sessions: Any) -> None:
        async def create(number: int) -> User:
            email = "Alice@example.com" if number % 2 else "alice@example.com "
            async with sessions.begin() as session:
                return await create_user(session, email, f"Alice {number}")

        results = await asyncio.gather(*map(create, range(20)), return_exceptions=True)
        assert sum(isinstance(result, User) for result in results) == 1
        assert sum(isinstance(result, EmailTaken) for result in results) == 19

    run(test)


def test_a_refused_address_leaves_the_transaction_usable() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            await create_user(session, "alice@example.com", "Alice")
            with suppress(EmailTaken):
                await create_user(session, "ALICE@example.com", "Alice")
            await create_user(session, "bob@example.com", "Bob")
        async with sessions() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 2

    run(test)


def test_changes() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 2, 0)
        async with sessions.begin() as session:
            user = await update_user(session, 1, 1, name="Ada")
            assert (user.name, user.version) == ("Ada", 2)
            assert await update_user(session, 99, 1, name="Nobody") is None
        for wrong in ({"nmae": "Ada"}, {"id": 77}, {"posts": []}):
            with pytest.raises(TypeError, match="cannot change"):
                async with sessions.begin() as session:
                    await update_user(session, 1, 2, **wrong)
        with pytest.raises(StaleDataError):
            async with sessions.begin() as session:
                await update_user(session, 1, 1, name="too late")
        with pytest.raises(EmailTaken):
            async with sessions.begin() as session:
                await update_user(session, 1, 2, email="USER1@example.com")

    run(test)


def test_two_who_read_the_same_version() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 1, 0)
        both = asyncio.Barrier(2)

        async def change(name: str) -> None:
            async with sessions.begin() as session:
                await session.get(User, 1)
                await both.wait()
                await update_user(session, 1, 1, name=name)

        results = await asyncio.gather(change("Eva"), change("Tom"), return_exceptions=True)
        assert sum(isinstance(result, StaleDataError) for result in results) == 1

    run(test)


def test_repeat_loses_nothing() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 1, 0)

        async def one_more(session: Any) -> None:
            user = await session.get(User, 1)
            user.name += "!"

        await asyncio.gather(*(repeat(sessions, one_more, tries=50) for _ in range(10)))
        async with sessions() as session:
            assert (await session.get(User, 1)).name == "User 0" + 10 * "!"

    run(test)


def test_repeat_gives_up_and_passes_other_errors_on() -> None:
    async def test(sessions: Any) -> None:
        tried = []

        async def stale(session: Any) -> None:
            tried.append(1)
            raise StaleDataError("always")

        with pytest.raises(StaleDataError):
            await repeat(sessions, stale, tries=3)
        assert len(tried) == 3

        async def wrong(session: Any) -> None:
            tried.append(1)
            await create_user(session, "x" * 300, "too long")

        with pytest.raises(Exception, match="too long"):
            await repeat(sessions, wrong)
        assert len(tried) == 4

    run(test)


def test_deleting_costs_one_statement_and_takes_the_posts_along() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 2, 100)
        sessions.statements.clear()
        async with sessions.begin() as session:
            assert await delete_user(session, 1) is True
            assert await delete_user(session, 99) is False
        assert len(sessions.statements) == 2
        async with sessions.begin() as session:  # the ORM's own way works too
            assert await session.scalar(select(func.count()).select_from(Post)) == 100
            await session.delete(await session.get(User, 2))
        async with sessions() as session:
            assert await session.scalar(select(func.count()).select_from(Post)) == 0

    run(test)


def test_fifty_transfers_with_a_pool_of_three() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            session.add_all([Account(id=number, cents=1000) for number in (1, 2, 3)])

        async def one(number: int) -> bool:
            source = number % 3 + 1
            async with sessions.begin() as session:
                await session.get(Account, source)  # read before, without a lock
                await asyncio.sleep(0)
                return await transfer(session, source, source % 3 + 1, 400 + number)

        results = await asyncio.gather(*map(one, range(50)))
        assert any(results)
        async with sessions() as session:
            cents = (await session.scalars(select(Account.cents))).all()
            assert sum(cents) == 3000
            assert min(cents) >= 0
            assert await transfer(session, 1, 99, 1) is False
            for arguments in ((1, 2, 0), (1, 2, -1), (1, 1, 5)):
                with pytest.raises(ValueError, match="transfer needs"):
                    await transfer(session, *arguments)

    run(test, pool_size=3)
