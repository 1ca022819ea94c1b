"""The shared data set: what is in it, that it is the same everywhere, and that it loads."""

import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from helpers import lab, shop
from helpers.base.errors import LabError
from helpers.base.paths import ROOT

PRODUCTS = """
    CREATE TABLE products (
        id SERIAL PRIMARY KEY,
        name VARCHAR(255) NOT NULL,
        description TEXT,
        price DECIMAL(10,2),
        search_vector tsvector GENERATED ALWAYS AS (
            to_tsvector('english', name || ' ' || COALESCE(description, ''))
        ) STORED
    )
"""
# SHA-256 of generated rows as JSON. Another platform or Python version must get the same.
DIGESTS = {
    "catalogue(70_000)": "a26a786ba7743888",
    "customers(20_000)": "161455425d8da9df",
    "orders(20_000)": "1b9cba11d7589013",
    "orders(5_000, customers=7, products=63_436, per_day=1)": "576e46a8bd836565",
    "events(50_000)": "d658d432ca778b0e",
}
DIGEST_SCRIPT = """
import hashlib, json, sys
from helpers.shop import catalogue, customers, events, orders
for call in sys.argv[1:]:
    rows = json.dumps(list(eval(call)), default=str)
    print(hashlib.sha256(rows.encode()).hexdigest()[:16])
"""


@pytest.fixture
def dsn() -> str:
    """Give a fresh, empty database."""
    return lab.postgres("90").dsn


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection to a fresh database with the table of the published example."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(PRODUCTS)
        yield connection


@pytest.fixture
def fresh_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the shop read its catalogue from another file, and forget the one it has read."""
    other = tmp_path / "catalogue.tsv.gz"
    monkeypatch.setattr(shop, "CATALOGUE", other)
    shop._lines.cache_clear()
    yield other
    shop._lines.cache_clear()


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """Import the script that builds the catalogue."""
    path = ROOT / "tests" / "tools" / "build_catalogue.py"
    spec = importlib.util.spec_from_file_location("build_catalogue", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count(connection: psycopg.Connection[Any], table: str = "products") -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row
    return int(row[0])


def share_of_top(values: Iterable[int], top: int) -> float:
    counted = Counter(values)
    return sum(number for _, number in counted.most_common(top)) / counted.total()


# The catalogue's file


def test_catalogue_holds_debian_12_as_the_readme_says() -> None:
    text = gzip.decompress(shop.CATALOGUE.read_bytes())
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert text.count(b"\n") == shop.PACKAGES == 63_436
    assert f"packages | {shop.PACKAGES:,}" in readme
    assert hashlib.sha256(text).hexdigest() in readme


def test_catalogue_has_each_package_once_and_every_field() -> None:
    products = list(shop.catalogue())
    assert len({product.name for product in products}) == len(products)
    assert all(p.name and p.section and p.summary for p in products)
    assert [p.id for p in products] == list(range(1, len(products) + 1))
    by_name = {product.name: product for product in products}
    assert by_name["gimp"].section == "graphics"
    assert by_name["gimp"].summary == "GNU Image Manipulation Program"


def test_data_is_small_and_its_bytes_have_no_date() -> None:
    size = sum(path.stat().st_size for path in (ROOT / "data").rglob("*") if path.is_file())
    assert size < 5_000_000
    header = shop.CATALOGUE.read_bytes()[:10]
    assert header[3] == 0, "the header has optional fields, such as a file name"
    assert header[4:8] == bytes(4), "the header has a time"


def test_first_products_are_a_fair_sample() -> None:
    everything = list(shop.catalogue())

    def share(products: list[shop.Product], word: str) -> float:
        return sum(word in product.summary for product in products) / len(products)

    for word in ("library", "documentation", "Perl"):
        assert share(everything[:5_000], word) == pytest.approx(share(everything, word), rel=0.15)


def test_builder_makes_the_same_file_from_the_same_index(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    index = (
        "Package: b\nDescription: second é\nTag: a::b,\n c::d\nSection: libs\n\n"
        "Package: a\nVersion: 1\nSection: games\nDescription: old\n\n"
        "Package: a\nVersion: 2\nSection: games\nDescription: a game: with a colon\n"
    )
    made = []
    for name in ("one", "two"):
        monkeypatch.setattr(builder, "TARGET", tmp_path / name)
        with (tmp_path / "index").open("w+", encoding="utf-8") as stream:
            stream.write(index)
            stream.seek(0)
            monkeypatch.setattr(sys, "stdin", stream)
            builder.main()
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    # The SHA-256 of "b" begins with 3e, that of "a" with ca.
    expected = "b\tlibs\tsecond é\na\tgames\ta game: with a colon\n"
    assert gzip.decompress(made[0]).decode("utf-8") == expected
    assert "2 packages" in capsys.readouterr().out


def test_catalogue_is_in_the_builders_order(builder: ModuleType) -> None:
    names = [product.name for product in shop.catalogue()]
    assert names == sorted(names, key=builder.shelf_order)


# The same everywhere


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_rows_are_the_same_on_every_platform(hash_seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", DIGEST_SCRIPT, *DIGESTS]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert dict(zip(DIGESTS, done.stdout.split(), strict=True)) == DIGESTS


@pytest.mark.parametrize("kind", ["catalogue", "customers", "orders", "events"])
def test_a_long_run_begins_with_a_short_one(kind: str) -> None:
    make = getattr(shop, kind)
    longest = list(make(3_000))
    assert len(longest) == 3_000
    for size in (0, 1, 7, 2_999):
        assert list(make(size)) == longest[:size]


def test_catalogue_goes_on_with_second_versions() -> None:
    last, again = shop.catalogue(2, start=shop.PACKAGES - 1)
    first = next(shop.catalogue(1))
    assert not last.name.endswith(" v2")
    assert again == (shop.PACKAGES + 1, first.name + " v2", *first[2:4], again.price, again.stock)
    third = next(shop.catalogue(1, start=2 * shop.PACKAGES))
    assert third.name == first.name + " v3"
    assert list(shop.catalogue(start=shop.PACKAGES)) == []


# What the generated rows look like


def test_prices_are_many_low_and_few_high() -> None:
    prices = sorted(product.price for product in shop.catalogue())
    median = prices[len(prices) // 2]
    mean = sum(prices) / len(prices)
    assert all(isinstance(price, Decimal) and price.as_tuple().exponent == -2 for price in prices)
    assert prices[0] == Decimal("0.99")
    assert prices[-1] == Decimal("1299.00")
    assert mean > 2 * median
    stock = [product.stock for product in shop.catalogue(1_000)]
    assert min(stock) == 0
    assert max(stock) < 100


def test_customers_are_distinct_and_not_real() -> None:
    customers = list(shop.customers(5_000))
    emails = {customer["email"] for customer in customers}
    assert len(emails) == 5_000
    assert all(email.endswith("@example.com") and email == email.lower() for email in emails)
    joined = [customer["created_at"] for customer in customers]
    assert shop.OPENING - timedelta(days=366) < min(joined)
    assert max(joined) < shop.OPENING


def test_few_products_and_customers_make_most_orders() -> None:
    orders = list(shop.orders(20_000, products=shop.PACKAGES))
    products = [item["product_id"] for order in orders for item in order["items"]]
    buyers = [order["customer_id"] for order in orders]
    # Zipf's law: the first has 1/H(63436) = 8.6 %, the first 1 % have H(634)/H(63436) = 60 %.
    # A product is in an order once, which takes a little from the first.
    assert share_of_top(products, 1) == pytest.approx(0.086, abs=0.01)
    assert share_of_top(products, 634) == pytest.approx(0.60, abs=0.03)
    assert share_of_top(buyers, 200) == pytest.approx(0.60, abs=0.03)
    assert set(buyers) <= set(range(1, 1_001))
    assert set(products) <= set(range(1, shop.PACKAGES + 1))
    best = next(shop.catalogue(1, start=Counter(products).most_common(1)[0][0] - 1))
    assert best.section in {"editors", "education", "games", "graphics", "sound", "video"}


def test_best_customers_are_not_the_first_ones() -> None:
    """An order by id must not look like an order by sales: it would hide a missing sort."""
    buyers = Counter(order["customer_id"] for order in shop.orders(20_000))
    best = [customer for customer, _ in buyers.most_common(20)]
    assert best != sorted(best)
    assert sum(customer > 500 for customer in best) in range(4, 17)


def test_the_shop_opens_on_the_monday_before_europe_moves_its_clocks() -> None:
    assert shop.OPENING.isoformat() == "2025-03-24T00:00:00+00:00"
    assert shop.OPENING.strftime("%w") == "1"


def test_orders_are_complete_and_in_order_of_time() -> None:
    prices = {product.id: product.price for product in shop.catalogue(1_000)}
    orders = list(shop.orders(5_000))
    times = [order["created_at"] for order in orders]
    assert times == sorted(times)
    assert times[0] >= shop.OPENING
    assert all(time.utcoffset() == timedelta(0) for time in times)
    for order in orders:
        bought = [item["product_id"] for item in order["items"]]
        assert 1 <= len(bought) == len(set(bought)) <= 4
        assert all(item["quantity"] >= 1 for item in order["items"])
        assert all(item["price"] == prices[item["product_id"]] for item in order["items"])
    statuses = Counter(order["status"] for order in orders)
    assert list(dict(statuses.most_common())) == ["delivered", "paid", "pending", "cancelled"]


def test_day_and_week_have_a_rhythm() -> None:
    times = [order["created_at"] for order in shop.orders(200 * 7 * 12)]
    assert times[-1] - shop.OPENING == pytest.approx(timedelta(weeks=12), abs=timedelta(days=2))
    hours = Counter(time.hour for time in times)
    days = Counter(time.weekday() for time in times)
    assert sum(hours[hour] for hour in range(18, 22)) > 8 * sum(hours[hour] for hour in range(1, 5))
    assert max(hours, key=lambda hour: hours[hour]) in {19, 20}
    assert max(days[5], days[6]) < 0.85 * min(days[day] for day in range(5))


def test_events_fit_the_published_pipeline() -> None:
    prices = {product.id: int(product.price * 100) for product in shop.catalogue(1_000)}
    events = list(shop.events(50_000))
    kinds = Counter(event["eventType"] for event in events)
    assert set(kinds) == {"page_view", "click", "purchase"}
    assert kinds["click"] / kinds["page_view"] == pytest.approx(0.30, abs=0.01)
    assert kinds["purchase"] / kinds["click"] == pytest.approx(0.12, abs=0.01)
    for event in events:
        assert set(event) == {"userId", "eventType", "productId", "value", "timestamp"}
        bought = event["eventType"] == "purchase"
        assert event["value"] == (prices[event["productId"]] if bought else 0)
        assert event["timestamp"].tzinfo is UTC
    days = (events[-1]["timestamp"] - shop.OPENING) / timedelta(days=1)
    assert 3 <= len(events) / 1_000 / days <= 5


def test_each_purchase_follows_a_click_and_each_click_a_view() -> None:
    seen: dict[tuple[int, int], list[str]] = {}
    earlier = {"click": "page_view", "purchase": "click"}
    for event in shop.events(20_000):
        steps = seen.setdefault((event["userId"], event["productId"]), [])
        if event["eventType"] in earlier:
            assert steps[-1] == earlier[event["eventType"]]
        steps.append(event["eventType"])


def test_per_day_sets_how_long_the_story_takes() -> None:
    def days(**options: int) -> float:
        *_, last = shop.orders(1_000, **options)
        return float((last["created_at"] - shop.OPENING) / timedelta(days=1))

    assert days(per_day=1_000) == pytest.approx(1, abs=0.3)
    assert days(per_day=10) == pytest.approx(100, rel=0.1)


# Loading


def test_products_load_as_they_are(connection: psycopg.Connection[Any]) -> None:
    assert shop.load_products(connection) == count(connection) == shop.PACKAGES
    rows = connection.execute("SELECT id, name, description, price FROM products ORDER BY id")
    expected = [(p.id, p.name, p.summary, p.price) for p in shop.catalogue()]
    assert rows.fetchall() == expected
    # The real texts hold what breaks a careless loader.
    assert any("\\r\\n" in summary for _, _, summary, _ in expected)
    assert any("\u2019" in summary for _, _, summary, _ in expected)


def test_products_grow_beyond_the_catalogue(connection: psycopg.Connection[Any]) -> None:
    assert shop.load_products(connection, 3) == 3
    assert shop.load_products(connection, 997, start=3) == 997
    assert shop.load_products(connection, 99_000, start=1_000) == 99_000
    row = connection.execute("SELECT count(*), count(DISTINCT name), max(id) FROM products")
    assert row.fetchone() == (100_000, 100_000, 100_000)
    assert shop.load_products(connection, 0) == 0


def test_products_load_into_another_table(connection: psycopg.Connection[Any]) -> None:
    connection.execute("CREATE SCHEMA old")
    connection.execute('CREATE TABLE old."My Goods" (name text, description text, price numeric)')
    assert shop.load_products(connection, 10, table="old.My Goods") == 10
    assert count(connection, 'old."My Goods"') == 10
    assert count(connection) == 0


def test_loading_commits_or_joins_the_callers_transaction(
    connection: psycopg.Connection[Any], dsn: str
) -> None:
    with psycopg.connect(dsn) as other:
        shop.load_products(other, 5)
        assert count(connection) == 5
        other.execute("SELECT 1")
        shop.load_products(other, 5)
        assert count(connection) == 5
        other.rollback()
    assert count(connection) == 5


def test_a_failing_load_leaves_nothing(connection: psycopg.Connection[Any]) -> None:
    connection.execute("ALTER TABLE products ADD CHECK (price < 1000)")
    with pytest.raises(psycopg.errors.CheckViolation):
        shop.load_products(connection)
    assert count(connection) == 0


def test_customers_and_orders_load_by_copy(connection: psycopg.Connection[Any]) -> None:
    connection.execute("CREATE TABLE users (id int, name text, email text, created_at timestamptz)")
    columns = ("id", "name", "email", "created_at")
    people = [tuple(customer[c] for c in columns) for customer in shop.customers(500)]
    assert shop.copy_rows(connection, "users", columns, people) == 500
    assert connection.execute("SELECT * FROM users ORDER BY id").fetchall() == people


def test_events_load_into_mongodb() -> None:
    mg = lab.mongodb("90")
    with mg.connect() as client:
        events = client[mg.database]["events"]
        shop.insert_events(events, 0)
        assert events.count_documents({}) == 0
        shop.insert_events(events, 12_345, customers=50, products=20, per_day=500)
        assert events.count_documents({}) == 12_345
        stored = list(events.find({}, {"_id": 0}).sort("_id", 1))
    made = list(shop.events(12_345, customers=50, products=20, per_day=500))
    assert [
        {**event, "timestamp": event["timestamp"].replace(tzinfo=UTC)} for event in stored
    ] == made


# Errors


@pytest.mark.parametrize("kind", ["catalogue", "customers", "orders", "events"])
@pytest.mark.parametrize("wrong", [-1, 2.5, "10"])
def test_a_wrong_number_of_rows_is_refused_at_once(kind: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"must be a whole number, 0 or more; it is {wrong!r}"):
        getattr(shop, kind)(wrong)


@pytest.mark.parametrize("option", ["customers", "products", "per_day"])
def test_a_shop_without_customers_products_or_days_is_refused(option: str) -> None:
    for make in (shop.orders, shop.events):
        with pytest.raises(ValueError, match=f"{option} must be a whole number, 1 or more"):
            make(10, **{option: 0})


@pytest.mark.parametrize("table", ["missing", "nowhere.products", "bare"])
def test_a_missing_table_or_column_is_named(
    connection: psycopg.Connection[Any], table: str
) -> None:
    connection.execute("CREATE TABLE bare (name text)")
    with pytest.raises(LookupError) as caught:
        shop.load_products(connection, 5, table=table)
    message = str(caught.value)
    assert "does not exist" in message
    assert f"First create the table {table} with the columns name, description, price." in message
    assert "\n" not in message
    assert count(connection) == 0, "the connection works on"


def test_a_table_name_cannot_smuggle_in_sql(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(LookupError):
        shop.load_products(connection, 1, table="products; DROP TABLE products")
    assert count(connection) == 0


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed", "not gzip", "fewer"])
def test_a_damaged_catalogue_says_how_to_restore_it(fresh_catalogue: Path, damage: str) -> None:
    good = (ROOT / "data" / "catalogue.tsv.gz").read_bytes()
    changed = bytearray(good)
    changed[len(good) // 2] ^= 0xFF
    damaged = {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "changed": bytes(changed),
        "not gzip": b"version https://git-lfs.github.com/spec/v1\n",
        "fewer": gzip.compress(b"gimp\tgraphics\tGNU Image Manipulation Program\n"),
    }
    if damage != "missing":
        fresh_catalogue.write_bytes(damaged[damage])
    with pytest.raises(LabError, match="git checkout data/") as caught:
        shop.catalogue(1)
    assert str(fresh_catalogue) in str(caught.value)
    # Once it is restored, the same kernel goes on.
    fresh_catalogue.write_bytes(good)
    assert next(shop.catalogue(1)).id == 1
