"""A small async data layer on SQLAlchemy 2.0 and PostgreSQL that is correct under concurrency.

    engine = make_engine("postgresql+psycopg://user:pass@localhost/db")
    Session = make_sessions(engine)

    async with Session.begin() as session:  # one piece of work: commits at the end, or rolls back
        user = await create_user(session, "alice@example.com", "Alice")

Functions get the session and never commit: whoever began the work ends it. So one piece of work
holds one connection, and what belongs together happens together or not at all.
"""

# models.py
from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError
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


class Base(AsyncAttrs, DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    posts: Mapped[list[Post]] = relationship(
        back_populates="author", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


# One address, one user, however it is written. This is a constraint, so it holds for everybody.
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
    cents: Mapped[int] = mapped_column(server_default="0")


# database.py
def make_engine(url: str, *, pool_size: int = 10, **options: Any) -> AsyncEngine:
    """Make the process's one engine. pool_size times processes stays below max_connections."""
    limits = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 5, "pool_pre_ping": True}
    return create_async_engine(url, **{**limits, "hide_parameters": True, **options})


def make_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Make the factory; objects keep their values after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def repeat(
    sessions: async_sessionmaker[AsyncSession],
    work: Callable[[AsyncSession], Awaitable[Result]],
    tries: int = 5,
) -> Result:
    """Do a piece of work in a transaction; once more when somebody else came in between.

    Each try has a new session, so it reads anew. `work` may run several times: it must do nothing
    but database work.
    """
    for tried in range(1, tries + 1):
        try:
            async with sessions.begin() as session:
                return await work(session)
        except StaleDataError:
            if tried == tries:
                raise
        except DBAPIError as error:  # serialization failure, deadlock
            if tried == tries or getattr(error.orig, "sqlstate", "") not in ("40001", "40P01"):
                raise
        await asyncio.sleep(random.uniform(0, 0.02 * 2**tried))
    raise ValueError("tries must be 1 or more")


# crud.py
class EmailTaken(Exception):
    """Another user has this address."""


async def create_user(session: AsyncSession, email: str, name: str) -> User:
    """Create a user with one statement. Raises EmailTaken; the transaction stays usable."""
    new = insert(User).values(email=email.strip(), name=name)
    user = await session.scalar(new.on_conflict_do_nothing().returning(User))
    if user is None:
        raise EmailTaken(email)
    return user


async def get_user_with_posts(session: AsyncSession, user_id: int) -> User | None:
    """Return a user whose posts are loaded: two statements."""
    return await session.get(User, user_id, options=[selectinload(User.posts)])


async def list_users_with_posts(
    session: AsyncSession, limit: int = 50, after_id: int = 0
) -> list[User]:
    """Return a page of users with their posts, in two statements for any number of users."""
    page = select(User).where(User.id > after_id).order_by(User.id).limit(limit)
    return list(await session.scalars(page.options(selectinload(User.posts))))


CHANGEABLE = frozenset({"email", "name"})


async def update_user(
    session: AsyncSession, user_id: int, version: int, **changes: str
) -> User | None:
    """Change a user whom somebody has read at this version.

    Raises:
        TypeError: a name that may not be changed from outside, or that does not exist.
        StaleDataError: somebody else has changed the user since.
        EmailTaken: another user has this address.
    """
    if unknown := changes.keys() - CHANGEABLE:
        raise TypeError(f"cannot change {', '.join(sorted(unknown))}")
    user = await session.get(User, user_id, populate_existing=True)
    if user is None:
        return None
    if user.version != version:
        raise StaleDataError(f"user {user_id} has version {user.version}, not {version}")
    for name, value in changes.items():
        setattr(user, name, value)
    try:
        await session.flush()  # the UPDATE compares the version once more
    except IntegrityError as error:
        raise EmailTaken(changes.get("email")) from error
    return user


async def delete_user(session: AsyncSession, user_id: int) -> bool:
    """Delete a user; the database deletes the posts. One statement."""
    gone = delete(User).where(User.id == user_id).returning(User.id)
    return await session.scalar(gone) is not None


async def transfer(session: AsyncSession, source: int, target: int, cents: int) -> bool:
    """Move cents from one account to another; False, and no change, when that is not possible.

    Both rows are locked, always in the order of their ids, so that two transfers never deadlock.
    """
    if cents < 1 or source == target:
        raise ValueError("a transfer needs a positive amount and two accounts")
    both = select(Account).where(Account.id.in_([source, target])).order_by(Account.id)
    locked = both.with_for_update().execution_options(populate_existing=True)
    found = {account.id: account for account in await session.scalars(locked)}
    if len(found) < 2 or found[source].cents < cents:
        return False
    found[source].cents -= cents
    found[target].cents += cents
    await session.flush()
    return True
