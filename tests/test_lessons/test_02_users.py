"""What lesson 02 sends home: users.py passes its own tests, and the drill."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import drill
import pytest
from drill.servers import execute
from labs import passes_its_own_tests, run_in, until
from sqlalchemy.exc import DBAPIError, OperationalError

from helpers import lab
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "02_sqlalchemy_async_crud"
FINAL = FOLDER / "final"
FILL = (
    "TRUNCATE users, posts, accounts RESTART IDENTITY",
    "INSERT INTO users (email, name) VALUES ('ada@x', 'Ada'), ('bob@x', 'Bob')",
    "INSERT INTO posts (title, content, author_id) VALUES ('t', 'c', 1)",
    "INSERT INTO accounts VALUES (1, 1000), (2, 1000)",
)


def test_the_published_file_can_be_imported() -> None:
    run = run_in(FOLDER, "-c", "import published", DATABASE_URL=lab.postgres("92").url)
    assert run.returncode == 0, run.stderr


def test_the_final_file_passes_its_own_tests() -> None:
    passes_its_own_tests(FINAL, "test_users.py", DATABASE_URL=lab.postgres("92").url)


@pytest.fixture(scope="module")
def users() -> Iterator[ModuleType]:
    """The final file, imported under its own name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FINAL))
        yield importlib.import_module("users")
        sys.modules.pop("users", None)


@pytest.fixture(scope="module")
def place(users: ModuleType) -> str:
    """A database with the file's tables."""
    return tables(users, lab.postgres("92", "drill").url)


@pytest.fixture
def url(place: str) -> str:
    """That database with two users, one post and two accounts."""
    execute(place, *FILL)
    return place


def tables(users: ModuleType, url: str) -> str:
    async def make() -> None:
        engine = users.make_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(users.Base.metadata.create_all)
        await engine.dispose()

    asyncio.run(make())
    execute(url, *FILL)
    return url


Work = Callable[[Any], Awaitable[Any]]


def worker(users: ModuleType, url: str, work: Work, **options: Any) -> Callable[[], Any]:
    """Return an async function that does a piece of work with an engine of its own."""

    async def one() -> Any:
        engine = users.make_engine(url, pool_size=1)
        try:
            return await users.repeat(users.make_sessions(engine), work, **options)
        finally:
            await engine.dispose()

    return one


def do(users: ModuleType, url: str, work: Work, **options: Any) -> Any:
    """Do a piece of work, committed."""
    return asyncio.run(worker(users, url, work, **options)())


def works(users: ModuleType) -> dict[str, Work]:
    """Every function, as a piece of work that may be done any number of times."""

    async def create(session: Any) -> None:
        user = await users.create_user(session, "eva@x", "Eva")
        await users.delete_user(session, user.id)

    async def update(session: Any) -> None:
        user = await users.get_user_with_posts(session, 2)
        await users.update_user(session, 2, user.version, name="Robert")

    async def refused(session: Any) -> None:
        with pytest.raises(users.EmailTaken):
            await users.update_user(session, 2, 1, email="ada@x")

    async def forth_and_back(session: Any) -> None:
        assert await users.transfer(session, 1, 2, 10)
        assert await users.transfer(session, 2, 1, 10)

    return {
        "create and delete": create,
        "get": lambda session: users.get_user_with_posts(session, 1),
        "list": lambda session: users.list_users_with_posts(session),
        "update": update,
        "refused": refused,
        "transfer": forth_and_back,
    }


NAMES = ("create and delete", "get", "list", "update", "refused", "transfer")


# Wrong values.


@pytest.mark.parametrize(
    ("kind", "call", "fine"),
    [
        ("id", lambda u, s, v: u.get_user_with_posts(s, v), []),
        ("id", lambda u, s, v: u.delete_user(s, v), []),
        ("id", lambda u, s, v: u.update_user(s, v, 1, name="n"), []),
        ("id", lambda u, s, v: u.update_user(s, 1, v, name="n"), []),
        ("id", lambda u, s, v: u.transfer(s, v, 2, 1), []),
        ("id", lambda u, s, v: u.transfer(s, 1, v, 1), []),
        ("amount", lambda u, s, v: u.transfer(s, 1, 2, v), ["above int4"]),
        ("count", lambda u, s, v: u.list_users_with_posts(s, v), []),
        ("count", lambda u, s, v: u.list_users_with_posts(s, 1, v), []),
        ("text", lambda u, s, v: u.create_user(s, v, "n"), []),
        ("text", lambda u, s, v: u.create_user(s, "new@x", v), []),
        ("text", lambda u, s, v: u.update_user(s, 1, 1, email=v), []),
        ("text", lambda u, s, v: u.update_user(s, 1, 1, name=v), []),
    ],
)
def test_wrong_values_are_refused(
    users: ModuleType, url: str, kind: Any, call: Any, fine: list[str]
) -> None:
    async def one(value: Any) -> Any:
        return await worker(users, url, lambda session: call(users, session, value))()

    with drill.no_writes(url):
        drill.refuses(
            one,
            drill.bad_inputs(kind, fine=fine),
            with_=(ValueError,),
            state=drill.contents(url),
            secrets=drill.secrets_of(url),
        )


ODD = {name: text for name, text in drill.ODD_TEXTS.items() if text.strip()}  # a name is no blank


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_names_are_kept(users: ModuleType, url: str, text: str) -> None:
    async def both(session: Any) -> list[str]:
        await users.create_user(session, "odd@x", text)
        await users.update_user(session, 1, 1, name=text)
        return [user.name for user in await users.list_users_with_posts(session)]

    assert do(users, url, both) == [text, "Bob", text]


# Other servers, other lines.


@drill.each_zone
def test_every_zone_stores_the_same_moment(
    users: ModuleType, url: str, zone: str, way: Any
) -> None:
    with drill.in_zone(url, zone, way) as own:
        user = do(users, own, lambda session: users.create_user(session, "z@x", "Zoe"))
    assert abs(user.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert user.created_at.utcoffset() is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_round_trip_of_30_ms(users: ModuleType, url: str, name: str) -> None:
    with drill.Proxy(url) as proxy:
        proxy.delay(15)
        began = time.monotonic()
        do(users, proxy.url, works(users)[name])
        assert time.monotonic() - began > 0.1, "the line was not slow"


@pytest.mark.parametrize("name", NAMES)
def test_a_line_that_is_cut_is_an_error_and_rolled_back(
    users: ModuleType, url: str, name: str
) -> None:
    work, before = works(users)[name], drill.contents(url)()[1:]
    with drill.Proxy(url) as proxy:
        for wanted in (1, 2):  # at the work's first statement, and at its commit
            with pytest.raises(DBAPIError):
                do(users, proxy.url, cut_once(proxy, work, at_the_end=wanted == 2))
            assert proxy.cuts == wanted
            assert drill.contents(url)()[1:] == before
        do(users, proxy.url, cut_once(proxy, work, at_the_end=True), may_happen_twice=True)
        assert proxy.cuts == 3


def cut_once(proxy: drill.Proxy, work: Work, *, at_the_end: bool, **how: Any) -> Work:
    """Return work whose line is cut in its first try, at its beginning or at its COMMIT."""
    tried: list[bool] = []

    async def cuts(session: Any) -> Any:
        await session.connection()
        if not tried and not at_the_end:
            proxy.cut()
        result = await work(session)
        if not tried and at_the_end:
            proxy.cut(**(how or {"before": b"COMMIT"}))
        tried.append(True)
        return result

    return cuts


def test_a_commit_whose_answer_is_lost(users: ModuleType, url: str) -> None:
    async def create(session: Any) -> Any:
        return await users.create_user(session, "eva@x", "Eva")

    async def move(session: Any) -> bool:
        return bool(await users.transfer(session, 1, 2, 10))

    with drill.Proxy(url) as proxy:
        for work in (create, move):
            with pytest.raises(DBAPIError):
                lost = cut_once(proxy, work, at_the_end=True, answer_to=b"COMMIT")
                do(users, proxy.url, lost)
        with pytest.raises(users.EmailTaken):  # as the docstring says
            do(users, proxy.url, create)
    assert execute(url, "SELECT count(*) FROM users WHERE email = 'eva@x'") == [(1,)]
    assert execute(url, "SELECT cents FROM accounts ORDER BY id") == [(990,), (1010,)]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_that_is_silent_costs_no_more_than_the_limit(
    users: ModuleType, url: str, name: str
) -> None:
    work = works(users)[name]

    async def main(proxy: drill.Proxy) -> None:
        engine = users.make_engine(proxy.url, pool_size=1)
        sessions = users.make_sessions(engine)

        async def stalls(session: Any) -> None:
            await session.connection()
            proxy.stall()
            await work(session)

        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await users.repeat(sessions, stalls, seconds=0.5)
        assert time.monotonic() - began < 4
        proxy.restore()
        await users.repeat(sessions, work)
        await engine.dispose()

    with drill.Proxy(url) as proxy:
        asyncio.run(main(proxy))


def test_a_server_that_never_lets_in(users: ModuleType, url: str) -> None:
    with drill.Proxy(url) as proxy:
        proxy.stall()
        began = time.monotonic()
        with pytest.raises(OperationalError):
            do(users, proxy.url, works(users)["get"])
        assert time.monotonic() - began < 8


# A caller that goes away.


@pytest.mark.parametrize("way", drill.WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_cancelled_anywhere(users: ModuleType, url: str, name: str, way: Any) -> None:
    engine = users.make_engine(url, pool_size=1)
    sessions, work = users.make_sessions(engine), works(users)[name]

    async def one() -> None:
        async with sessions.begin() as session:
            await work(session)

    async def again() -> None:
        async with sessions() as session:
            assert await users.transfer(session, 1, 2, 1000)
            assert await users.get_user_with_posts(session, 3) is None

    drill.survives_cancellation(
        one, busy=drill.busy(url), again=again, finish=engine.dispose, way=way, limit=8
    )


@pytest.mark.parametrize("way", ["task", "anyio"])
@pytest.mark.parametrize("by", ["begin", "repeat"])
def test_cancelled_behind_a_lock(users: ModuleType, url: str, way: Any, by: str) -> None:
    engine = users.make_engine(url, pool_size=1)
    sessions, work = users.make_sessions(engine), works(users)["transfer"]

    async def one() -> None:
        if by == "repeat":
            return await users.repeat(sessions, work)
        async with sessions.begin() as session:
            await work(session)

    with drill.servers.direct(url) as holder, holder.transaction():
        holder.execute("SELECT 1 FROM accounts FOR UPDATE")
        drill.survives_cancellation(
            one,
            until=drill.blocked(url),
            busy=drill.busy(url, but=[holder.info.backend_pid]),
            finish=engine.dispose,
            way=way,
            limit=8,
        )


# Two at once, and a server that goes and comes.


def test_two_processes_at_once(users: ModuleType, url: str) -> None:
    program = """
import asyncio, users
async def main():
    engine = users.make_engine(url)
    Session = users.make_sessions(engine)
    try:
        user = await users.repeat(Session, lambda s: users.create_user(s, "Eva@x", str(number)))
        said = user.id
    except users.EmailTaken:
        said = "taken"
    way = (1, 2) if number else (2, 1)
    for _ in range(20):
        assert await users.repeat(Session, lambda s: users.transfer(s, *way, 10))
    await engine.dispose()
    return said
"""
    said = drill.twice(program, url, folder=FINAL)
    assert [one.error for one in said] == [None, None]
    assert sorted(isinstance(one.result, int) for one in said) == [False, True]
    assert drill.overlap(said) > 0
    assert execute(url, "SELECT cents FROM accounts ORDER BY id") == [(1000,), (1000,)]


@pytest.mark.embedded
@pytest.mark.parametrize("trouble", ["restart", "pause"])
def test_callers_while_the_server_has_trouble(users: ModuleType, trouble: str) -> None:
    own = lab.postgres("92", trouble, private=True)
    url = tables(users, own.url)
    engines: list[Any] = []

    async def call() -> None:
        if not engines:
            engines.append(users.make_engine(url, pool_size=4))
        sessions = users.make_sessions(engines[0])
        work = works(users)["transfer"]
        await users.repeat(sessions, work, seconds=2, may_happen_twice=True)

    def pause() -> None:
        with drill.paused(own.server):
            time.sleep(12)  # longer than every limit of a call

    meanwhile = own.server.restart if trouble == "restart" else pause
    found = drill.callers(
        6,
        call,
        6,
        meanwhile=meanwhile,
        patience=20,
        finish=lambda: engines[0].dispose(),
    )
    assert found.hanging == 0, str(found)
    assert found.after > 20, str(found)
    assert found.longest < 12, str(found)
    until(lambda: not drill.busy(url)(), 10, "the end of the sessions")
    assert execute(url, "SELECT cents FROM accounts ORDER BY id") == [(1000,), (1000,)]
