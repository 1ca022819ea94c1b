"""What lesson 01 sends home: final.sql must do what the lesson promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from helpers import lab, shop, show
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "01_postgresql_full_text_search"


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    with lab.postgres("92").connect(autocommit=True) as opened:
        opened.execute((FOLDER / "final.sql").read_bytes())
        shop.load_products(opened, 20_000)
        opened.execute("VACUUM ANALYZE products")
        yield opened


def search(connection: Any, typed: str, page: int = 1) -> list[Any]:
    query = "SELECT id, name, headline, rank FROM search_products(%s, %s)"
    return connection.execute(query, [typed, page]).fetchall()


def test_the_published_file_runs() -> None:
    with lab.postgres("93").connect(autocommit=True) as opened:
        opened.execute((FOLDER / "published.sql").read_bytes())


def test_pages_lose_nothing_and_repeat_nothing(connection: Any) -> None:
    wanted = connection.execute(
        "SELECT id FROM products WHERE search_vector @@ websearch_to_tsquery('english', 'editor')"
    ).fetchall()
    pages = [search(connection, "editor", page) for page in range(1, len(wanted) // 10 + 3)]
    seen = [row[0] for page in pages for row in page]
    assert sorted(seen) == sorted(id for (id,) in wanted)
    ranks = [row[3] for page in pages for row in page]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(
    "typed", ["", "the", "laptop &", "'", '"', "100%", "\\", "-" * 40, "a or " * 30_000]
)
def test_whatever_people_type(connection: Any, typed: str) -> None:
    assert len(search(connection, typed)) <= 10


def test_headlines_carry_marks_and_no_tags(connection: Any) -> None:
    (first, *_) = search(connection, "chess")
    assert "\ue000" in first[2] or "chess" in first[1]
    assert "<b>" not in first[2]


def test_the_function_uses_the_index(connection: Any) -> None:
    plan = show.plan(connection, "SELECT * FROM search_products('chess', 1)")
    assert plan.uses("idx_products_search")
