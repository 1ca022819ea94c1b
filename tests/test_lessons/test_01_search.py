"""What lesson 01 sends home: search.sql and search.py do what they say, also on a bad day."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psycopg
import pytest
from drill import (
    Proxy,
    bad_inputs,
    busy,
    callers,
    contents,
    in_zones,
    no_writes,
    once,
    overlap,
    paused,
    refuses,
    secrets_of,
    twice,
)
from labs import passes_its_own_tests

from helpers import lab, shop, show
from helpers.base.paths import NOTEBOOKS
from helpers.kinds.postgresql import PostgresPlace

FOLDER = NOTEBOOKS / "01_postgresql_full_text_search"
FINAL = FOLDER / "final"
LIMIT = 3.0  # seconds that search.py gives a search here


@pytest.fixture(scope="module")
def final() -> Iterator[ModuleType]:
    """search.py, with shorter limits than at work."""
    spec = importlib.util.spec_from_file_location("lesson_01_search", FINAL / "search.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.SECONDS, module.GRACE = LIMIT, 1.0  # type: ignore[attr-defined]
    yield module
    del sys.modules[spec.name]


def filled(place: PostgresPlace) -> str:
    """Make the products of search.sql in a place; return its address."""
    with place.connect(autocommit=True) as connection:
        connection.execute((FINAL / "search.sql").read_bytes())
        shop.load_products(connection, 20_000)
        connection.execute("VACUUM ANALYZE products")
    return place.dsn


@pytest.fixture(scope="module")
def url() -> str:
    return filled(lab.postgres("92"))


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresPlace]:
    """A server of this file's own, which may be stopped."""
    place = lab.postgres("94", private=True)
    filled(place)
    yield place


def caller(final: ModuleType, url: str) -> Any:
    """Return a function that searches as a program does: a lost connection is opened again."""
    opened: list[psycopg.Connection[Any]] = []

    def call() -> int:
        connection = opened.pop() if opened else None
        if connection is None or connection.closed:
            connection = psycopg.connect(url, autocommit=True, connect_timeout=2)
        found = len(final.search(connection, "chess"))
        opened.append(connection)
        return found

    return call


def test_the_published_file_runs() -> None:
    with lab.postgres("93").connect(autocommit=True) as opened:
        opened.execute((FOLDER / "published.sql").read_bytes())


def test_the_final_files_pass_their_own_tests() -> None:
    passes_its_own_tests(FINAL, "test_search.py", DATABASE_URL=lab.postgres("93", "own").url)


def test_an_older_table_gets_the_function() -> None:
    """The published table is kept; its products are found."""
    with lab.postgres("93").connect(autocommit=True) as opened:
        opened.execute((FOLDER / "published.sql").read_bytes())
        opened.execute("INSERT INTO products (name) VALUES ('Laptop')")
        opened.execute((FINAL / "search.sql").read_bytes())
        found = opened.execute("SELECT name, headline FROM search_products('laptops')").fetchall()
    assert found == [("Laptop", "")]


def test_pages_lose_nothing_and_repeat_nothing(connection: Any, final: ModuleType) -> None:
    wanted = connection.execute(
        "SELECT id FROM products WHERE search_vector @@ websearch_to_tsquery('english', 'editor')"
    ).fetchall()
    pages = [final.search(connection, "editor", page) for page in range(1, len(wanted) // 10 + 3)]
    hits = [hit for page in pages for hit in page]
    assert sorted(hit.id for hit in hits) == sorted(id for (id,) in wanted)
    ranks = [hit.rank for hit in hits]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(
    "typed", ["", "the", "laptop &", "'", '"', "100%", "\\", "-" * 40, "a or " * 30_000]
)
def test_whatever_people_type(connection: Any, typed: str) -> None:
    query = "SELECT id, name, headline, rank FROM search_products(%s, 1)"
    assert len(connection.execute(query, [typed]).fetchall()) <= 10


def test_headlines_carry_marks_and_no_tags(connection: Any) -> None:
    (first, *_) = connection.execute("SELECT * FROM search_products('chess', 1)").fetchall()
    assert "\ue000" in first[2] + first[3]
    assert "<b>" not in first[2] + first[3]


def test_the_function_uses_the_index(connection: Any) -> None:
    plan = show.plan(connection, "SELECT * FROM search_products('chess', 1)")
    assert plan.uses("idx_products_search")


def test_bad_input_is_refused_before_the_server_is_asked(
    url: str, connection: Any, final: ModuleType
) -> None:
    told: Any = {"with_": (final.BadSearch,), "secrets": secrets_of(url), "state": contents(url)}
    odd = ["empty", "blank", "NUL", "a lone surrogate", "1 MB"]  # texts that find something or not
    refuses(lambda typed: final.search(connection, typed), bad_inputs("text", fine=odd), **told)
    told.pop("state")
    numbers = bad_inputs("id")
    refuses(lambda page: final.search(connection, "chess", page), numbers, **told)
    refuses(lambda per_page: final.search(connection, "chess", 1, per_page), numbers, **told)


def test_odd_texts_raise_nothing_and_nothing_is_written(url: str, final: ModuleType) -> None:
    odd = {name: text for name, text in bad_inputs("text").items() if isinstance(text, str)}
    with no_writes(url), psycopg.connect(url, autocommit=True) as reading:
        for text in odd.values():
            assert len(final.search(reading, text)) <= 10


def test_the_time_zone_does_not_matter(url: str, connection: Any, final: ModuleType) -> None:
    right = final.search(connection, "editor", 2)
    for _, zoned in in_zones(url):
        with psycopg.connect(zoned, autocommit=True) as elsewhere:
            assert final.search(elsewhere, "editor", 2) == right


def test_a_round_trip_of_30_ms(url: str, final: ModuleType) -> None:
    with Proxy(url) as proxy:
        proxy.delay(15)
        with psycopg.connect(proxy.url, autocommit=True) as far:
            assert len(final.search(far, "editor")) == 10


def test_a_line_that_falls_silent(url: str, final: ModuleType) -> None:
    with Proxy(url) as proxy, psycopg.connect(proxy.url, autocommit=True) as line:
        proxy.stall()
        outcome = once(lambda: final.search(line, "chess"), 30)
        assert outcome.errors == {"SearchFailed": 1}, str(outcome)
        assert outcome.longest < 15
        proxy.restore()
    assert busy(url)() == []


@pytest.mark.parametrize("word", [b"search_products", b"COMMIT"])
def test_a_line_that_is_cut(url: str, final: ModuleType, word: bytes) -> None:
    """Before or after the answer: it only reads, so the next try is harmless."""
    with Proxy(url) as proxy:
        call = caller(final, proxy.url)
        right = call()
        proxy.cut(answer_to=word)
        with pytest.raises(final.SearchFailed):
            call()
        assert call() == right


def test_a_restart_while_callers_search(own: PostgresPlace, final: ModuleType) -> None:
    call = caller(final, own.dsn)
    outcome = callers(3, call, 1, meanwhile=own.server.restart, patience=60)
    assert outcome.hanging == 0, str(outcome)
    assert outcome.after > 0, str(outcome)
    # What cannot connect is the caller's to see.
    assert set(outcome.errors) <= {"SearchFailed", "OperationalError"}, str(outcome)


def test_a_pause_longer_than_every_limit(own: PostgresPlace, final: ModuleType) -> None:
    with psycopg.connect(own.dsn, autocommit=True) as line:
        with paused(own.server):  # type: ignore[arg-type]
            outcome = once(lambda: final.search(line, "chess"), 30)
        assert outcome.errors == {"SearchFailed": 1}, str(outcome)
        assert outcome.longest < 15
        assert line.closed


PROGRAM = """
import psycopg
from search import search
connection = psycopg.connect(url, autocommit=True)
def main():
    return [[hit.id for hit in search(connection, "library", page)] for page in range(1, 11)]
"""


def test_two_processes_at_once(url: str) -> None:
    one, other = twice(PROGRAM, url, folder=FINAL)
    assert one.error is other.error is None
    assert overlap([one, other]) > 0
    assert one.result == other.result
    seen = [id for page in one.result for id in page]
    assert len(seen) == len(set(seen)) == 100
