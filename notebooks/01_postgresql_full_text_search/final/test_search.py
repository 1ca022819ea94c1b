"""Tests of search.sql and search.py, in a schema of their own in a PostgreSQL database.

DATABASE_URL=postgresql://... python -m pytest test_search.py
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import search as module
from search import BadSearch, Hit, SearchFailed, at_most, clean, search

URL = os.environ.get("DATABASE_URL", "postgresql:///postgres").replace("+psycopg", "", 1)
SCHEMA = "search_py_tests"
FILE = Path(__file__).with_name("search.sql")
PRODUCTS = [
    ("Laptop Pro 15", "High-performance laptop with 16GB RAM"),
    ("Wireless Mouse", "Ergonomic wireless mouse with USB receiver"),
    ("Mechanical Keyboard", None),
    ("Chess", "Use chess --verbose & <img src=x onerror=alert(1)>"),
    ("wsl-doc", "How to use wsl --shutdown, simple"),
    ("text editor", "simple"),
    ("R&D <i>kit</i>", "tools"),
    *((f"Pawn {number % 3}", "a piece of wood") for number in range(25)),
]


def connect() -> psycopg.Connection[Any]:
    connection = psycopg.connect(URL, autocommit=True, connect_timeout=5)
    connection.execute(f"SET search_path = {SCHEMA}")
    return connection


@pytest.fixture(scope="module")
def db() -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(URL, autocommit=True, connect_timeout=5) as owner:
        try:
            owner.execute(f"CREATE SCHEMA {SCHEMA}")
        except psycopg.errors.DuplicateSchema:
            pytest.exit(f"There is a schema {SCHEMA} already. Drop it if it is not yours.", 2)
        try:
            with connect() as connection:
                connection.execute(FILE.read_bytes())
                add = "INSERT INTO products (name, description) VALUES (%s, %s)"
                connection.cursor().executemany(add, PRODUCTS)
                yield connection
        finally:
            owner.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def names(connection: Any, typed: str, page: int = 1) -> list[str]:
    found = connection.execute("SELECT name FROM search_products(%s, %s)", [typed, page])
    return sorted(name for (name,) in found)


def test_the_file_may_run_again(db: Any) -> None:
    db.execute(FILE.read_bytes())
    assert names(db, "laptop") == ["Laptop Pro 15"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("laptops", ["Laptop Pro 15"]),
        ("wireless mouse", ["Wireless Mouse"]),
        ("laptop or keyboard", ["Laptop Pro 15", "Mechanical Keyboard"]),
        ('"text editor"', ["text editor"]),
        ("simple -editor", ["wsl-doc"]),
        ("--verbose", ["Chess"]),
        ("wsl --shutdown", ["wsl-doc"]),
        ("text editor--simple", ["text editor"]),
        ("-" * 33 + "chess", ["Chess"]),
        ("chess " + "- " * 60, ["Chess"]),
        ("chess or " * 20_000, ["Chess"]),
        ("chess'; DROP TABLE products; --", []),
        ("-video", []),
        ("chess or -video", []),
        ("the", []),
        ("", []),
        ("!!! & | ( \\", []),
    ],
)
def test_what_people_type(db: Any, typed: str, found: list[str]) -> None:
    assert names(db, typed) == found
    assert len(search(db, typed)) == len(found)


@pytest.mark.parametrize("typed", ["chess\0", "\0chess", "chess \ud83d", "'chess", '"chess'])
def test_characters_that_postgresql_refuses(db: Any, typed: str) -> None:
    assert [hit.name for hit in search(db, typed)] == ["<mark>Chess</mark>"]


def test_the_text_is_cut() -> None:
    assert clean("x" * 199 + "yz") == "x" * 199 + "y"
    assert clean("a\0b\ud800c") == "a b?c"


def test_pages_lose_nothing_and_repeat_nothing(db: Any) -> None:
    pages = [search(db, "pawn", page) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    hits = [hit for page in pages for hit in page]
    assert len({hit.id for hit in hits}) == 25
    assert [hit.rank for hit in hits] == sorted((hit.rank for hit in hits), reverse=True)
    assert search(db, "pawn", 2, 7) == search(db, "pawn", 1, 14)[7:]
    assert search(db, "pawn") == pages[0]
    plain = db.execute("SELECT id FROM search_products('pawn')").fetchall()
    assert plain == [(hit.id,) for hit in pages[0]]
    assert len(search(db, "pawn", 1, 100)) == 25
    assert search(db, "pawn", 1_000) == []


@pytest.mark.parametrize(
    ("page", "per_page", "count"),
    [
        *((page, 10, 0) for page in (0, -5, None, 1_001, 2_147_483_647)),
        *((1, number, count) for number, count in ((None, 10), (-1, 1), (0, 1), (2**31 - 1, 25))),
    ],
)
def test_numbers_out_of_range_raise_nothing_in_sql(
    db: Any, page: int | None, per_page: int | None, count: int
) -> None:
    query = "SELECT count(*) FROM search_products('pawn', %s::int, %s::int)"
    assert db.execute(query, [page, per_page]).fetchone() == (count,)


def test_a_page_has_100_products_at_most(db: Any) -> None:
    with db.transaction(force_rollback=True):
        db.execute(
            "INSERT INTO products (name) SELECT 'rook ' || n FROM generate_series(1, 120) AS n"
        )
        assert db.execute("SELECT count(*) FROM search_products('rook', 1, 500)").fetchone() == (
            100,
        )
        assert len(search(db, "rook", 2, 100)) == 20


def test_products_of_equal_rank_have_an_order_and_the_last_page_is_the_last(db: Any) -> None:
    with db.transaction(force_rollback=True):
        db.execute("INSERT INTO products (name) SELECT 'knight' FROM generate_series(1, 1001)")
        ids = [hit.id for page in range(1, 12) for hit in search(db, "knight", page, 100)]
        assert len(ids) == 1_001
        assert ids == sorted(set(ids))
        assert len(search(db, "knight", 1_000, 1)) == 1
        beyond = "SELECT count(*) FROM search_products('knight', 1001, 1)"
        assert db.execute(beyond).fetchone() == (0,)


def test_marks_become_tags_and_nothing_else_does(db: Any) -> None:
    (hit,) = search(db, "chess")
    assert hit == Hit(
        hit.id,
        "<mark>Chess</mark>",
        "Use <mark>chess</mark> --verbose &amp; &lt;img src=x onerror=alert(1)&gt;",
        hit.rank,
    )
    (kit,) = search(db, "kit")
    assert kit.name == "R&amp;D &lt;i&gt;<mark>kit</mark>&lt;/i&gt;"
    assert kit.headline == "tools"
    assert 0 < hit.rank < 1


def test_a_product_without_a_description(db: Any) -> None:
    (hit,) = search(db, "keyboard")
    assert (hit.name, hit.headline) == ("Mechanical <mark>Keyboard</mark>", "")


def test_a_supplier_cannot_write_marks(db: Any) -> None:
    with db.transaction(force_rollback=True):
        forged = "\ue000for\ue001 bishop \ue000"
        db.execute("INSERT INTO products (name, description) VALUES (%s, %s)", [forged, forged])
        (hit,) = search(db, "bishop")
    assert hit.name == hit.headline == "for <mark>bishop</mark> "


def test_a_long_description_can_be_saved(db: Any) -> None:
    with db.transaction(force_rollback=True):
        manual = " ".join(f"word{number}" for number in range(120_000)) + " manual"
        db.execute("INSERT INTO products (name, description) VALUES ('Manual', %s)", [manual])
        assert names(db, "word4900") == ["Manual"]
        (hit,) = search(db, "manual")  # the last word too, but so far nobody reads
    assert hit.name == "<mark>Manual</mark>"
    assert hit.headline and "<mark>" not in hit.headline


def test_the_function_uses_the_index(db: Any) -> None:
    with db.transaction(force_rollback=True):
        db.execute("SET LOCAL enable_seqscan = off")
        plan = db.execute("EXPLAIN SELECT * FROM search_products('chess', 1)").fetchall()
    assert "idx_products_search" in str(plan)


@pytest.mark.parametrize("typed", [None, 7, b"chess", ["chess"], True])
def test_what_is_no_text_is_refused(typed: Any) -> None:
    with pytest.raises(BadSearch, match=f"^The text is {type(typed).__name__}, not str"):
        search(None, typed)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, -1, True, 1.0, "1", None, 1_001, 10**30])
def test_numbers_are_whole_and_in_range(number: Any) -> None:
    with pytest.raises(BadSearch, match=r"^page must be a whole number from 1 to 1,000"):
        search(None, "chess", number)  # type: ignore[arg-type]
    with pytest.raises(BadSearch, match=r"^per_page must be a whole number from 1 to 100"):
        search(None, "chess", 1, number)  # type: ignore[arg-type]


def test_a_page_of_101_is_refused() -> None:
    with pytest.raises(BadSearch):
        search(None, "chess", 1, 101)  # type: ignore[arg-type]


def test_a_search_that_waits_ends_and_the_connection_lives(
    db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    monkeypatch.setattr(module, "GRACE", 60.0)  # a slow machine must not break the connection
    with connect() as other, other.transaction(force_rollback=True):
        other.execute("LOCK TABLE products")
        began = time.monotonic()
        with pytest.raises(
            SearchFailed, match=r"^The search got no answer in time, or none at all\.$"
        ):
            search(db, "chess")
        assert 0.2 < time.monotonic() - began < 30
    assert len(search(db, "chess")) == 1
    assert db.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, db: Any) -> None:
    monkeypatch.setattr(module, "SECONDS", 60.0)  # longer than the server is given
    monkeypatch.setattr(module, "GRACE", -59.5)
    with connect() as other, other.transaction(force_rollback=True), connect() as mine:
        other.execute("LOCK TABLE products")
        began = time.monotonic()
        with pytest.raises(SearchFailed):
            search(mine, "chess")
        assert time.monotonic() - began < 30
        assert mine.closed


def test_the_limit_ends_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Timer:
        daemon = False

        def __init__(self, seconds: float, _: Any) -> None:
            calls.append(seconds)

        def start(self) -> None:
            calls.append(self.daemon)

        def cancel(self) -> None:
            calls.append("cancel")

    monkeypatch.setattr(module.threading, "Timer", Timer)
    nobody: Any = None
    with at_most(nobody, 7):
        calls.append("block")
    assert calls == [7, True, "block", "cancel"]
    with pytest.raises(KeyError), at_most(nobody, 7):
        raise KeyError
    assert calls[-1] == "cancel"


def test_a_closed_connection_is_told(db: Any) -> None:
    mine = connect()
    mine.close()
    with pytest.raises(SearchFailed):
        search(mine, "chess")


def test_inside_a_transaction_of_the_caller(db: Any) -> None:
    with connect() as mine, mine.transaction():
        assert len(search(mine, "chess")) == 1
        assert mine.execute("SELECT 1").fetchone() == (1,)
