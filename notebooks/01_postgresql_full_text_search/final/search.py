"""Search the products of search.sql from Python, with psycopg 3: typed text in, safe HTML out.

with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
    for hit in search(connection, request.args.get("q", "")):
        print(f"<li>{hit.name}: {hit.headline}</li>")
"""

import html
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

SECONDS = 3.0  # that the server may work on one search
GRACE = 1.0  # seconds more, after which the connection is given up
LONGEST = 200  # characters that are read of what was typed
LAST_PAGE, MOST = 1_000, 100  # as in search.sql
SEARCH = "SELECT id, marked, headline, rank FROM search_products(%s, %s, %s)"


class BadSearch(ValueError):
    """The text is no text, or there is no such page. The server was not asked."""


class SearchFailed(Exception):
    """The server did not answer, or not in time. Another try may work, on a new connection."""


@dataclass(frozen=True)
class Hit:
    """A product that was found. `name` and `headline` are HTML, with <mark> around the words."""

    id: int
    name: str
    headline: str  # "" for a product without a description
    rank: float


def search(
    connection: psycopg.Connection[Any], typed: str, page: int = 1, per_page: int = 10
) -> list[Hit]:
    """Return a page of the products that match what somebody typed, the best first.

    Any text will do: NUL, half of a surrogate pair, only signs. Where nothing is left to look
    for, and after the last page, the list is empty. No product is on two pages while the table
    stays as it is. It only reads, so it may be called again after every error. It uses the
    connection for itself: give each thread its own. The session's time zone does not matter.

    Raises:
        BadSearch: `typed` is no str, or a number is no int from 1 to LAST_PAGE or MOST.
        SearchFailed: the connection is lost, or there was no answer within SECONDS + GRACE: the
            server is down, hangs, waits for a lock, or has too much to rank.
    """
    if not isinstance(typed, str):
        raise BadSearch(f"The text is {type(typed).__name__}, not str.")
    for number, name, most in ((page, "page", LAST_PAGE), (per_page, "per_page", MOST)):
        if type(number) is not int or not 1 <= number <= most:
            raise BadSearch(f"{name} must be a whole number from 1 to {most:,}.")
    values = [clean(typed), page, per_page]
    try:
        with at_most(connection, SECONDS + GRACE), connection.transaction():
            limit = f"{SECONDS * 1000:.0f}"
            connection.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
            rows = connection.execute(SEARCH, values).fetchall()
    except (psycopg.OperationalError, psycopg.InterfaceError) as problem:
        raise SearchFailed("The search got no answer in time, or none at all.") from problem
    return [Hit(id, tagged(name), tagged(headline), rank) for id, name, headline, rank in rows]


def clean(typed: str) -> str:
    """Return the part of a text that is read, as PostgreSQL can take it."""
    return typed[:LONGEST].encode(errors="replace").decode().replace("\0", " ")


def tagged(marked: str) -> str:
    """Return text with marks as HTML: everything is escaped, then the marks become tags."""
    return html.escape(marked).replace("\ue000", "<mark>").replace("\ue001", "</mark>")


@contextmanager
def at_most(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Break the connection when the block takes longer: a server that hangs ends nothing itself.

    The wait inside then raises psycopg.OperationalError.
    """

    def hang_up() -> None:
        with (
            suppress(OSError, psycopg.Error),  # it is closed by now
            socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
