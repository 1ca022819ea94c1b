"""Tests of users.py against a PostgreSQL database, in a schema of their own that they drop.

DATABASE_URL=postgresql+psycopg://user:pass@localhost/test python -m pytest test_users.py

They refuse to run where their schema exists already, and touch no other one.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import users
from sqlalchemy import NullPool, delete, event, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm.exc import StaleDataError
from users import (
    Account,
    Base,
    EmailTaken,
    Post,
    StaleForm,
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
    within,
)

URL = os.environ.get("DATABASE_URL", "postgresql+psycopg://localhost/test")
SCHEMA = f"users_py_tests_{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def own_schema() -> Iterator[None]:
    """Make the tests' schema, and drop it at the end. One that exists is somebody else's."""

    async def execute(statement: str) -> None:
        engine = create_async_engine(URL)
        async with engine.begin() as connection:
            await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(execute(f"CREATE SCHEMA {SCHEMA}"))
    yield
    asyncio.run(execute(f"DROP SCHEMA {SCHEMA} CASCADE"))


def engine_of(**options: Any) -> Any:
    """Make an engine as people do, whose sessions see nothing but the tests' schema."""
    engine = make_engine(URL, **options)

    @event.listens_for(engine.sync_engine, "connect")
    def enter(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET search_path = {SCHEMA}")
        cursor.close()
        connection.commit()

    return engine


@asynccontextmanager
async def database(**options: Any) -> AsyncIterator[Any]:
    """Give a session factory for empty tables; `statements` of it lists what was sent."""
    engine = engine_of(**options)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        sessions = make_sessions(engine)
        sessions.engine = engine
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
                page = await list_users_with_posts(session, limit)
            assert len(sessions.statements) == 2
            assert [len(user.posts) for user in page] == [3] * limit
            assert [user.id for user in page] == list(range(1, limit + 1))
        async with sessions.begin() as session:  # stored last, so that no ORDER BY is no order
            await session.execute(text("UPDATE users SET name = 'moved' WHERE id = 1"))
            assert [user.id for user in await list_users_with_posts(session)] == [*range(1, 21)]
            page = await list_users_with_posts(session, 2, after_id=5)
            assert [user.id for user in page] == [6, 7]
            assert await list_users_with_posts(session, 0) == []
        async with sessions.begin() as session:
            await session.execute(delete(User))
            values = "SELECT n || '@x', 'n' FROM generate_series(1, 55) n"
            await session.execute(text(f"INSERT INTO users (email, name) {values}"))
            assert len(await list_users_with_posts(session)) == 50

    run(test)


def test_what_was_not_loaded_says_so() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 1, 1)
        async with sessions() as session:
            with pytest.raises(InvalidRequestError, match=r"User\.posts"):
                _ = (await session.get(User, 1)).posts
            user = await get_user_with_posts(session, 1)
        assert len(user.posts) == 1
        async with sessions() as session:
            post = await session.get(Post, 1)
            with pytest.raises(InvalidRequestError, match=r"Post\.author"):
                _ = post.author
            assert await get_user_with_posts(session, 99) is None

    run(test)


def test_a_user_in_the_session_gets_posts_and_new_values_too() -> None:
    """The session holds on to an object as long as somebody does: `user`, `held`."""

    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            user = await create_user(session, "alice@example.com", "Alice")
            assert (await get_user_with_posts(session, user.id)).posts == []
            user.name = "not sent yet"
            assert (await get_user_with_posts(session, user.id)).name == "not sent yet"
        async with sessions() as session:
            held = await session.get(User, 1)
            async with sessions.begin() as other:
                other.add(Post(title="t", content="c", author_id=1))
                await update_user(other, 1, 2, name="Ada")
            again = await get_user_with_posts(session, 1)
            assert (again is held, again.name, len(again.posts)) == (True, "Ada", 1)
            async with sessions.begin() as other:
                await update_user(other, 1, 3, name="Eva")
            assert (await list_users_with_posts(session))[0].name == "Eva"
            async with sessions.begin() as other:
                await update_user(other, 1, 4, email="eva@example.com")
            told = await update_user(session, 1, 5, name="Tom")
            assert (told is held, held.name, held.email) == (True, "Tom", "eva@example.com")

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

    run(test, pool_timeout=60)


def test_a_refused_address_leaves_the_transaction_usable() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            await create_user(session, "alice@example.com", "Alice")
            with suppress(EmailTaken):
                await create_user(session, "ALICE@example.com", "Alice")
            await create_user(session, "bob@example.com", "Bob")
        async with sessions() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 2
        async with sessions.begin() as session:
            held = await session.get(User, 1)
            with pytest.raises(EmailTaken) as taken:
                await update_user(session, 1, 1, email="BOB@example.com")
            assert str(taken.value) == "another user has this address"
            assert taken.value.__suppress_context__
            with pytest.raises(StaleForm, match="user 1 has another version than 7"):
                await update_user(session, 1, 7, name="Ada")
            await update_user(session, 1, 1, name="Ada")
            assert held.name == "Ada"

    run(test)


def test_only_a_taken_address_is_called_so() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:  # imported rows: the sequence is behind
            session.add_all([User(id=1, email="a@x", name="a"), User(id=2, email="b@x", name="b")])
        with pytest.raises(IntegrityError, match="users_pkey"):
            async with sessions.begin() as session:
                await create_user(session, "brand.new@x", "New")
        async with sessions.begin() as session:
            await session.execute(
                text("ALTER TABLE users ADD CONSTRAINT no_bobs CHECK (name <> 'Bob')")
            )
        with pytest.raises(IntegrityError, match="no_bobs"):
            async with sessions.begin() as session:
                await update_user(session, 1, 1, name="Bob")

    run(test)


def test_spaces_around_an_address_are_nothing() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            assert (
                await create_user(session, " \tada@example.com ", " Ada ")
            ).email == "ada@example.com"
            user = await update_user(session, 1, 1, email=" eva@example.com ")
            assert (user.email, user.name, user.version) == ("eva@example.com", " Ada ", 2)
        for email in (" eva@example.com", "eva smith@example.com"):
            with pytest.raises(IntegrityError, match="users_email_without_spaces"):
                async with sessions.begin() as session:
                    session.add(User(email=email, name="past the functions"))

    run(test)


BAD = [None, [1], b"1", True, 1.5, 1.0, "1", -1, 2**31, 2**63, 10**30]
BAD_TEXT = [None, 7, b"text", ["a"], "", " \t", "a\0b@x", "a\ud800b@x", "x" * 256 + "@x", True]


@pytest.mark.parametrize(
    ("named", "call", "values"),
    [
        ("user_id", lambda s, v: get_user_with_posts(s, v), [*BAD, 0]),
        ("user_id", lambda s, v: delete_user(s, v), [*BAD, 0]),
        ("user_id", lambda s, v: update_user(s, v, 1, name="a"), [*BAD, 0]),
        ("version", lambda s, v: update_user(s, 1, v, name="a"), [*BAD, 0, 2**31 - 1]),
        ("after_id", lambda s, v: list_users_with_posts(s, 1, v), BAD),
        ("limit", lambda s, v: list_users_with_posts(s, v), [*BAD, 501]),
        ("source", lambda s, v: transfer(s, v, 2, 1), [*BAD, 0]),
        ("target", lambda s, v: transfer(s, 1, v, 1), [*BAD, 0]),
        ("cents", lambda s, v: transfer(s, 1, 2, v), [*(v for v in BAD if v != 2**31), 0]),
        ("two accounts", lambda s, v: transfer(s, v, v, 1), [1, 2]),
        ("email", lambda s, v: create_user(s, v, "n"), [*BAD_TEXT, "ada", "@x", "a@", "a b@x"]),
        ("email", lambda s, v: update_user(s, 1, 1, email=v), [*BAD_TEXT, "ada", "@x", "a@"]),
        ("name", lambda s, v: create_user(s, "a@x", v), [*BAD_TEXT, "x" * 101]),
        ("name", lambda s, v: update_user(s, 1, 1, name=v), [*BAD_TEXT, "x" * 101]),
    ],
)
def test_wrong_values_are_refused_before_anything_is_sent(
    named: str, call: Any, values: list[Any]
) -> None:
    async def main() -> None:
        nowhere = make_engine("postgresql+psycopg://u:p@127.0.0.1:1/none")  # nobody listens there
        async with make_sessions(nowhere)() as session:
            for value in values:
                with pytest.raises(
                    ValueError, match=f"^({named} (must|has)|a transfer needs {named})"
                ):
                    await call(session, value)

    asyncio.run(main())


def test_the_largest_values_are_fine() -> None:
    async def test(sessions: Any) -> None:
        largest = 2**31 - 1
        async with sessions.begin() as session:
            session.add_all([Account(id=1, cents=2**63 - 1), Account(id=largest, cents=1)])
            email, name = "x" * 253 + "@y", "😀" * 100
            assert (await create_user(session, email, name)).email == email
            assert (await update_user(session, 1, 1, name="'; --\n")).name == "'; --\n"
            for call in (get_user_with_posts, delete_user):
                assert not await call(session, largest)
            assert await update_user(session, largest, largest - 1, name="a") is None
            assert await list_users_with_posts(session, 500, largest) == []
            assert not await transfer(session, largest, 1, 1)  # more than a bigint holds
            assert await transfer(session, 1, largest, 2**63 - 2)
            assert not await transfer(session, largest, 1, 2**63 - 1 - 0)
            assert await transfer(session, largest, 1, 2**63 - 2)

    run(test)


def test_changes() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 2, 0)
        async with sessions.begin() as session:
            user = await update_user(session, 1, 1, name="Ada")
            assert (user.name, user.version) == ("Ada", 2)
            assert (await session.get(User, 2)).name == "User 1"
            assert await update_user(session, 99, 1, name="Nobody") is None
        for wrong in ({"nmae": "Ada"}, {"id": 77}, {"posts": []}):
            with pytest.raises(TypeError, match="cannot change"):
                async with sessions.begin() as session:
                    await update_user(session, 1, 2, **wrong)
        with pytest.raises(TypeError, match=r"cannot change created_at, id$"):
            async with sessions() as session:
                await update_user(session, 1, 2, id=3, created_at="now")
        with pytest.raises(StaleForm):
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
        assert sum(isinstance(result, StaleForm) for result in results) == 1

    run(test)


def test_repeat_loses_nothing() -> None:
    async def test(sessions: Any) -> None:
        await with_posts(sessions, 1, 0)

        async def one_more(session: Any) -> None:
            user = await session.get(User, 1)
            user.name += "!"

        await asyncio.gather(*(repeat(sessions, one_more, 50, seconds=60) for _ in range(10)))
        async with sessions() as session:
            assert (await session.get(User, 1)).name == "User 0" + 10 * "!"

    run(test, pool_timeout=60)


def error(code: str | None, lost: bool = False) -> DBAPIError:
    """Make an error as the driver and SQLAlchemy do."""
    cause = Exception("from the driver")
    cause.sqlstate = code  # type: ignore[attr-defined]
    return OperationalError("SELECT", {}, cause, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("problem", "twice", "tries"),
    [
        (StaleDataError("always"), False, 3),
        (StaleForm("a person must look"), False, 1),
        (StaleForm("a person must look"), True, 1),
        (error("40001"), False, 3),
        (error("40P01"), False, 3),
        (error("55P03"), True, 1),
        (error("57014"), True, 1),
        (error("57P01", lost=True), False, 1),
        (error("57P01"), True, 3),
        (error("08006"), True, 3),
        (error(None, lost=True), False, 1),
        (error(None, lost=True), True, 3),
        (error(None), False, 1),
        (error(None), True, 3),
        (IntegrityError("INSERT", {}, Exception("no code")), True, 1),
        (KeyError("not the database's"), True, 1),
        (TimeoutError("too long"), True, 1),
    ],
)
def test_repeat_tries_again_what_may_come_through(
    problem: Exception, twice: bool, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(sessions: Any) -> None:
        tried = []

        async def work(session: Any) -> None:
            tried.append(session)
            raise problem

        with pytest.raises(type(problem)) as raised:
            await repeat(sessions, work, tries=3, may_happen_twice=twice)
        assert raised.value is problem
        assert len({id(session) for session in tried}) == len(tried) == tries

    run(test)


def test_repeat_waits_a_random_moment_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(sessions: Any) -> None:
        waits: list[Any] = []
        monkeypatch.setattr(
            users.random, "uniform", lambda low, high: waits.append((low, high)) or 0
        )

        async def work(session: Any) -> int:
            if len(waits) < 3:
                raise StaleDataError
            return 61

        assert await repeat(sessions, work) == 61
        assert waits == [(0, pytest.approx(high)) for high in (0.04, 0.08, 0.16)]

        async def never(session: Any) -> None:
            raise StaleDataError

        waits.clear()
        with pytest.raises(StaleDataError):
            await repeat(sessions, never)
        assert len(waits) == 4
        for wrong in (0, -1, None, 1.5, True, 101):
            with pytest.raises(ValueError, match="tries must"):
                await repeat(sessions, never, tries=wrong)

    run(test)


def test_nobody_waits_for_ever() -> None:
    """For a lock, a long statement, the pool, or for work that takes too long."""

    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            session.add_all([Account(id=1, cents=5), Account(id=2, cents=5)])

        async def seconds(work: Awaitable[Any], kind: type, match: str) -> float:
            began = time.monotonic()
            with pytest.raises(kind, match=match):
                await work
            return time.monotonic() - began

        async def pay(session: Any) -> bool:
            return await transfer(session, 1, 2, 1)

        async with sessions.begin() as holder:
            await holder.execute(select(Account).with_for_update())
            assert 1.5 < await seconds(repeat(sessions, pay), DBAPIError, "lock timeout") < 4.5
            slow = repeat(sessions, pay, seconds=0.2)
            assert 0.1 < await seconds(slow, TimeoutError, "longer than 0.2 s") < 1.5
            async with sessions() as other:
                sleep = other.execute(text("SELECT pg_sleep(30)"))
                assert 4 < await seconds(sleep, DBAPIError, "statement timeout") < 9
                wait = sessions().execute(text("SELECT 1"))  # two are taken, and there are two
                assert 4 < await seconds(wait, PoolTimeout, "limit of size 2 overflow 0") < 9
            shown = await holder.scalar(text("SHOW idle_in_transaction_session_timeout"))
            assert shown == "15s"
        assert sessions.engine.pool.checkedout() == 0
        async with sessions() as session:
            assert await transfer(session, 1, 2, 5)

    run(test, pool_size=2)


def test_within_is_patient_with_those_who_do_not_listen() -> None:
    async def deaf(times: int, log: list[int]) -> int:
        for number in range(times):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                log.append(number)
        await asyncio.sleep(0)
        return 61

    async def main() -> None:
        log: list[int] = []
        assert await within(0.05, deaf(2, log)) == 61  # late, but it has an answer
        assert log == [0, 1]
        with pytest.raises(KeyError):
            await within(5, fails(KeyError("its own")))
        with pytest.raises(TimeoutError):
            await within(0.01, asyncio.sleep(30))
        log.clear()
        task = asyncio.ensure_future(within(30, deaf(1, log)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == [0]  # it has ended, not only been told to

    async def fails(problem: Exception) -> None:
        raise problem

    asyncio.run(main())


def test_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def make(url: str, **options: Any) -> Any:
        asked.append(options)
        return create_async_engine(url, **options)

    monkeypatch.setattr(users, "create_async_engine", make)
    make_engine(URL)
    assert asked[0].items() >= {
        ("pool_size", 10), ("max_overflow", 0), ("pool_timeout", 5),
        ("pool_pre_ping", True), ("hide_parameters", True),
    }  # fmt: skip
    assert asked[0]["connect_args"] == {"connect_timeout": 3}
    make_engine("postgresql+asyncpg://u:p@h/d", connect_args={"ssl": True}, pool_timeout=1)
    assert asked[1]["connect_args"] == {"timeout": 3, "ssl": True}
    assert asked[1]["pool_timeout"] == 1
    make_engine(URL, poolclass=NullPool)
    for wrong in (0, -1, None, True, 1.5, 10_001):
        with pytest.raises(ValueError, match="pool_size must"):
            make_engine(URL, pool_size=wrong)


def test_values_do_not_reach_the_error() -> None:
    async def test(sessions: Any) -> None:
        async with sessions() as session:
            with pytest.raises(DBAPIError) as raised:
                await session.scalar(text("SELECT 1 / (:secret - 61)"), {"secret": 61})
        assert "SQL parameters hidden" in str(raised.value)

    run(test)


def test_the_tables() -> None:
    """What the functions rely on, and what only shows with many rows."""

    async def test(sessions: Any) -> None:
        async with sessions.engine.connect() as connection:
            indexes = await connection.run_sync(lambda one: inspect(one).get_indexes("posts"))
        assert ["author_id"] in [index["column_names"] for index in indexes]
        with pytest.raises(IntegrityError, match="accounts_not_overdrawn"):
            async with sessions.begin() as session:
                session.add(Account(id=1, cents=-1))

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
            sessions.statements.clear()
            await session.delete(await session.get(User, 2))
            await session.flush()
            assert len(sessions.statements) == 2  # the user and the DELETE, not the posts
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

    run(test, pool_size=3, pool_timeout=60)  # on a slow machine too


def test_a_transfer_sees_what_is_stored_not_what_the_session_has_read() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            session.add_all([Account(id=number, cents=100) for number in (1, 2, 3)])
        async with sessions.begin() as session:
            held = [await session.get(Account, number) for number in (1, 2, 3)]  # not forgotten
            async with sessions.begin() as other:
                assert await transfer(other, 1, 3, 60)
            assert await transfer(session, 1, 2, 41) is False
            assert await transfer(session, 99, 2, 1) is False
            assert await transfer(session, 1, 2, 40) is True
            assert [account.cents for account in held[:2]] == [0, 140]
            held[0].cents += 5  # not sent yet
            assert await transfer(session, 1, 2, 5) is True
        async with sessions() as session:
            stored = await session.execute(select(Account.id, Account.cents))
            assert dict(stored.all()) == {1: 0, 2: 145, 3: 160}

    run(test)


def test_locks_are_taken_in_the_order_of_ids_and_kept() -> None:
    async def test(sessions: Any) -> None:
        async with sessions.begin() as session:
            session.add_all([Account(id=2, cents=100)])
            await session.flush()
            session.add_all([Account(id=1, cents=100)])  # stored after 2
        free = text("SELECT id FROM accounts FOR UPDATE SKIP LOCKED")
        for source, target in ((1, 2), (2, 1)):
            async with sessions() as holder, sessions() as session:
                await holder.execute(text("SELECT 1 FROM accounts WHERE id = 1 FOR UPDATE"))
                waits = asyncio.ensure_future(transfer(session, source, target, 1))
                async with sessions() as eye:
                    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                    while not await eye.scalar(text(waiting)) and not waits.done():
                        await asyncio.sleep(0.01)
                    assert (await eye.scalars(free)).all() == [2]  # nobody holds 2 yet
                    await eye.rollback()
                    await holder.rollback()
                    assert await waits is True
                    assert (await eye.scalars(free)).all() == []

    run(test)
