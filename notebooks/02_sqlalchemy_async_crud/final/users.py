"""A small async data layer on SQLAlchemy 2.0 and PostgreSQL that is correct under concurrency.

    engine = make_engine("postgresql+psycopg://user:pass@localhost/db")
    Session = make_sessions(engine)

    async with Session.begin() as session:  # one piece of work: commits at the end, or rolls back
        user = await create_user(session, "alice@example.com", "Alice")

    paid = await repeat(Session, lambda session: transfer(session, 1, 2, 500))  # with all limits

Functions get the session and never commit: whoever began the work ends it. So one piece of work
holds one connection, and what belongs together happens together or not at all.

For every function:

- A wrong value raises ValueError before anything is sent: an id, version or amount that is no int
  (True, 1.5 and "1" are none) or out of range, a text that is empty, too long or no text.
- A lock that does not come in 2 s, a statement that takes 5 s, and a connection that is lost raise
  SQLAlchemy's DBAPIError; a pool without a free connection in 5 s raises its TimeoutError. The
  work is rolled back. Only when the connection is lost at the commit, nobody knows.
- A server that accepts and then says nothing is noticed by `within` and `repeat`: TimeoutError.
- A cancelled caller gets its CancelledError, the work is rolled back, the connection is free. Under
  an anyio scope (Starlette) the server's limits end what the caller has left behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    String,
    case,
    delete,
    event,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncAttrs,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.orm.exc import StaleDataError

Result = TypeVar("Result")
INT4, INT8 = 2**31 - 1, 2**63 - 1  # the largest integer, and bigint, of PostgreSQL


# models.py
class Base(AsyncAttrs, DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012


class User(Base):
    __tablename__ = "users"
    __table_args__ = (CheckConstraint(r"email !~ '\s'", name="users_email_without_spaces"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    posts: Mapped[list[Post]] = relationship(
        back_populates="author", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


# One address, one user, in capitals or not. This is a constraint, so it holds for everybody.
Index("users_lower_email", func.lower(User.email), unique=True)


class Post(Base):
    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(255))
    content: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    published: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    author: Mapped[User] = relationship(back_populates="posts", lazy="raise")


class Account(Base):
    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("cents >= 0", name="accounts_not_overdrawn"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger, server_default="0")


# database.py
SERVER_LIMITS = (
    "SET lock_timeout = '2s'",
    "SET statement_timeout = '5s'",
    "SET idle_in_transaction_session_timeout = '15s'",
)
CONNECT_SECONDS = {"psycopg": {"connect_timeout": 3}, "asyncpg": {"timeout": 3}}


def make_engine(url: str, *, pool_size: int = 10, **options: Any) -> AsyncEngine:
    """Make the process's one engine, with limits on time; nothing is sent before it is used.

    pool_size times processes stays below max_connections. Other options are those of
    create_async_engine. Raises ValueError for a size below 1, which would mean no limit.
    """
    whole("pool_size", pool_size, 1, 10_000)
    limits: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
    if "poolclass" not in options:  # NullPool, for tests, has no size
        limits |= {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 5}
    connecting = CONNECT_SECONDS.get(make_url(url).get_driver_name(), {})
    limits["connect_args"] = {**connecting, **options.pop("connect_args", {})}
    engine = create_async_engine(url, **{**limits, **options})

    @event.listens_for(engine.sync_engine, "connect")
    def limit(connection: Any, _: object) -> None:
        with closing(connection.cursor()) as cursor:
            for setting in SERVER_LIMITS:
                cursor.execute(setting)
        connection.commit()

    return engine


def make_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Make the factory; objects keep their values after the commit. Sends nothing."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """Await some work for so long at most; TimeoutError when it takes longer.

    A driver that is cancelled asks the server to stop, and waits for its answer. So it is
    cancelled again, a second later, until it ends: then it gives the connection up.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        late = not task.done()
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)
    if late and (task.cancelled() or task.exception()):
        raise TimeoutError(f"the work took longer than {seconds:g} s") from None
    return task.result()


async def repeat(
    sessions: async_sessionmaker[AsyncSession],
    work: Callable[[AsyncSession], Awaitable[Result]],
    tries: int = 5,
    *,
    seconds: float = 10,
    may_happen_twice: bool = False,
) -> Result:
    """Do a piece of work in a transaction; once more when somebody else came in between.

    Each try has a new session, so it reads anew, and `seconds` at most. `work` may run several
    times: it must do nothing but database work. A connection that is lost goes to the caller, as
    the server may have committed; with may_happen_twice the work is done again. A form that is
    out of date (StaleForm) is never tried again, nor is one try's TimeoutError.
    """
    whole("tries", tries, 1, 100)

    async def once() -> Result:
        async with sessions.begin() as session:
            return await work(session)

    for tried in range(1, tries + 1):
        try:
            return await within(seconds, once())
        except StaleForm:
            raise
        except (StaleDataError, DBAPIError) as error:
            if tried == tries or not passes(error, may_happen_twice):
                raise
        await asyncio.sleep(random.uniform(0, 0.02 * 2**tried))
    raise AssertionError("the last try returns or raises")


def passes(error: StaleDataError | DBAPIError, may_happen_twice: bool) -> bool:
    """Whether another try may come through where this error came."""
    if isinstance(error, StaleDataError):
        return True
    code = getattr(error.orig, "sqlstate", None) or ""
    if code in ("40001", "40P01"):  # serialization failure, deadlock
        return True
    lost = error.connection_invalidated or code.startswith(("57P", "08"))
    return may_happen_twice and (lost or (not code and isinstance(error, OperationalError)))


# input.py
def whole(name: str, value: object, least: int, most: int) -> int:
    """Return a whole number between two limits; ValueError for anything else, True included."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return value


def words(name: str, value: object, most: int) -> str:
    """Return a text that PostgreSQL can store in so many characters, as it is; or ValueError."""
    if not isinstance(value, str) or not value.strip() or len(value) > most or "\0" in value:
        raise ValueError(f"{name} must be a text of 1 to {most} characters, without NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has half of a character in it") from None
    return value


def address(value: object) -> str:
    """Return an email address without the spaces around it; ValueError for what is none."""
    email = words("email", value.strip() if isinstance(value, str) else value, 255)
    before, _, after = email.rpartition("@")
    if not before or not after or any(letter.isspace() for letter in email):
        raise ValueError("email must be an address such as alice@example.com")
    return email


# crud.py
#: What the session holds already takes the values that come back from the database.
FRESH: dict[str, Any] = {
    "execution_options": {"populate_existing": True, "synchronize_session": False}
}


class EmailTaken(Exception):
    """Another user has this address."""

    def __init__(self) -> None:
        super().__init__("another user has this address")  # the address is nobody's business


class StaleForm(StaleDataError):
    """Somebody has changed the row since the form was read: a person must look again."""


async def create_user(session: AsyncSession, email: str, name: str) -> User:
    """Create a user with one statement, and return all that is stored.

    Raises EmailTaken, and the transaction stays usable. After a lost commit the user may be there:
    a second call then raises EmailTaken for the caller's own user.
    """
    new = insert(User).values(email=address(email), name=words("name", name, 100))
    once = new.on_conflict_do_nothing(index_elements=[func.lower(User.email)])
    user = await session.scalar(once.returning(User))
    if user is None:
        raise EmailTaken
    return user


async def get_user_with_posts(session: AsyncSession, user_id: int) -> User | None:
    """Return a user as stored now, whose posts are loaded, or None: two statements.

    A user whom the session holds already is the same object, with new values.
    """
    one = select(User).where(User.id == whole("user_id", user_id, 1, INT4))
    return await session.scalar(one.options(selectinload(User.posts)), **FRESH)


async def list_users_with_posts(
    session: AsyncSession, limit: int = 50, after_id: int = 0
) -> list[User]:
    """Return a page of users after an id, with all of their posts, in two statements.

    Up to 500 users: from there on selectinload sends one more for every 500.
    """
    after = User.id > whole("after_id", after_id, 0, INT4)
    page = select(User).where(after).order_by(User.id).limit(whole("limit", limit, 0, 500))
    return list(await session.scalars(page.options(selectinload(User.posts)), **FRESH))


CHANGEABLE = {"email": address, "name": lambda value: words("name", value, 100)}


async def update_user(
    session: AsyncSession, user_id: int, version: int, **changes: str
) -> User | None:
    """Change a user whom somebody has read at this version; None when there is no such user.

    Raises, and the transaction stays usable:
        TypeError: a name that may not be changed from outside, or that does not exist.
        StaleForm: somebody else has changed the user since; also in a second call of the same.
        EmailTaken: another user has this address.
    """
    if unknown := changes.keys() - CHANGEABLE.keys():
        raise TypeError(f"cannot change {', '.join(sorted(unknown))}")
    values = {name: CHANGEABLE[name](value) for name, value in changes.items()}
    this = User.id == whole("user_id", user_id, 1, INT4)
    same = User.version == whole("version", version, 1, INT4 - 1)
    new = update(User).where(this, same).values(**values, version=version + 1).returning(User)
    try:
        async with session.begin_nested():  # a refusal ends only this much
            user = await session.scalar(new, **FRESH)
    except IntegrityError as error:
        if "users_lower_email" not in str(error.orig):
            raise
        raise EmailTaken from None  # PostgreSQL's message has the address
    if user is None and await session.scalar(select(User.id).where(this)):
        raise StaleForm(f"user {user_id} has another version than {version}")
    return user


async def delete_user(session: AsyncSession, user_id: int) -> bool:
    """Delete a user; the database deletes the posts. One statement; False when nobody is there."""
    gone = delete(User).where(User.id == whole("user_id", user_id, 1, INT4)).returning(User.id)
    return await session.scalar(gone) is not None


async def transfer(session: AsyncSession, source: int, target: int, cents: int) -> bool:
    """Move cents from one account to another; False, and no change, when that is not possible.

    Not possible: an account is missing, the source has too little, the target would have more than
    a bigint holds. Both rows are locked, always in the order of their ids, so that two transfers
    never deadlock. A second call moves the cents a second time.
    """
    ids = [whole("source", source, 1, INT4), whole("target", target, 1, INT4)]
    whole("cents", cents, 1, INT8)
    if source == target:
        raise ValueError("a transfer needs two accounts")
    both = select(Account.id, Account.cents).where(Account.id.in_(ids)).order_by(Account.id)
    found = {row.id: row.cents for row in await session.execute(both.with_for_update())}
    if len(found) < 2 or found[source] < cents or found[target] > INT8 - cents:
        return False
    # One statement for both: of two, a driver may send the second without waiting for the first.
    moved = case((Account.id == source, Account.cents - cents), else_=Account.cents + cents)
    change = update(Account).where(Account.id.in_(ids)).values(cents=moved).returning(Account)
    (await session.scalars(change, **FRESH)).all()
    return True
