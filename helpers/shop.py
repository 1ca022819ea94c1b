"""The shop's data: a real catalogue, and customers, orders and events made by a program.

The packages' names, sections and summaries are real (Debian 12, see data/README.md). All else is
generated; no customer is a real person. The same call gives the same rows everywhere, and a long
run begins with the rows of a short one: this file counts in whole numbers, and takes from
random.Random only random(), whose sequence Python promises to keep
(https://docs.python.org/3/library/random.html#notes-on-reproducibility).
"""

import gzip
import random
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.base.errors import LabError

if TYPE_CHECKING:
    from psycopg import Connection
    from pymongo.collection import Collection

Rows = Iterator[dict[str, Any]]
CATALOGUE = Path(__file__).resolve().parent.parent / "data" / "catalogue.tsv.gz"
PACKAGES = 63_436  # lines in the catalogue
OPENING = datetime(2025, 3, 24, tzinfo=UTC)  # a Monday; on Sunday Europe's clocks change
# Each price with its weight: many cheap packages, few expensive ones.
_WEIGHTS = {"0.99": 20, "1.99": 26, "2.99": 22, "4.99": 32, "7.99": 20, "9.99": 34, "14.99": 22}
_WEIGHTS |= {"19.99": 24, "29.99": 17, "49.99": 16, "99.99": 9, "199.99": 3, "1299.00": 1}
_PRICES = [Decimal(price) for price, weight in _WEIGHTS.items() for _ in range(weight)]
_PROGRAMS = ("editors", "education", "games", "graphics", "sound", "video")  # sell best
_GIVEN = ("Ada", "Amir", "Bea", "Chen", "Emeka", "Grace", "Hana", "Ivan", "Kofi", "Leila", "Marco")
_FAMILY = ("Bauer", "Costa", "Diaz", "Ito", "Kaya", "Kim", "Novak", "Okafor", "Rossi", "Singh")
_STATUSES = ["delivered"] * 14 + ["paid"] * 3 + ["pending"] * 2 + ["cancelled"]
_LINES = [1] * 12 + [2] * 5 + [3] * 2 + [4]  # products in an order, below: licences of each
_QTY = [1] * 16 + [2] * 2 + [3, 10]
_VIEWS = [1] * 8 + [2] * 5 + [3] * 3 + [5, 5, 8, 13]  # products looked at in one visit
_STEPS = (("page_view", 1.0), ("click", 0.3), ("purchase", 0.12))  # how many take each step
_HOURS = [2, 1, 1, 1, 1, 2, 3, 5, 8, 10, 11, 12, 12, 11, 11, 11, 12, 13, 15, 17, 18, 14, 9, 5]
_DAYS = [100, 104, 104, 102, 110, 80, 70]  # how busy a weekday is, from Monday; above: an hour


class Product(NamedTuple):
    """One product; `id` is its place in the catalogue, from 1."""

    id: int
    name: str
    section: str
    summary: str
    price: Decimal
    stock: int


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, int) and value >= least:
        return value
    raise ValueError(f"{name} must be a whole number, {least} or more; it is {value!r}.")


@cache
def _lines() -> list[str]:
    try:
        lines = gzip.decompress(CATALOGUE.read_bytes()).decode().split("\n")[:-1]
        if len(lines) != PACKAGES:
            raise ValueError(f"{len(lines):,} lines instead of {PACKAGES:,}")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise LabError(f"Cannot read {CATALOGUE}: {error}. Try: git checkout data/") from None
    return lines


def _product(index: int) -> Product:
    version, line = divmod(index, PACKAGES)
    name, section, summary = _lines()[line].split("\t")
    name += f" v{version + 1}" if version else ""
    code = zlib.crc32(name.encode())
    return Product(index + 1, name, section, summary, _PRICES[code % len(_PRICES)], code % 97)


def catalogue(limit: int | None = None, start: int = 0) -> Iterator[Product]:
    """Yield `limit` products (None: up to the last package) after the first `start`.

    All kinds of packages are mixed, so the first k are a fair sample. After the last package
    come second versions ("gimp v2": same summary, a price of its own), then third versions.
    """
    first, stop = _whole("start", start, 0), len(_lines())
    return map(_product, range(first, stop if limit is None else first + _whole("limit", limit, 0)))


class _Random(random.Random):
    def one(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.random() * len(choices))]

    def zipf(self, choices: Sequence[Any], flat: int = 0) -> Callable[[], Any]:
        # Zipf-Mandelbrot law: number r of the choices has a share of 1 / (r + flat).
        shares = list(accumulate(10**12 // (r + flat) for r in range(1, len(choices) + 1)))
        return lambda: choices[bisect_right(shares, int(self.random() * shares[-1]))]

    def moments(self, per_day: int) -> Iterator[datetime]:
        due, unit = 0, sum(_HOURS) * sum(_DAYS) * 100 // 7
        for hour in count():
            begin = OPENING + timedelta(hours=hour)
            percent = 75 + int(self.random() * 51)  # no two hours are alike
            due += per_day * _HOURS[begin.hour] * _DAYS[begin.weekday()] * percent
            arrivals, due = divmod(due, unit)
            for offset in sorted(int(self.random() * 3_600_000) for _ in range(arrivals)):
                yield begin + timedelta(milliseconds=offset)

    def trade(self, customers: int, products: int, per_day: int) -> tuple[Any, Any, Any]:
        for name, value in (("customers", customers), ("products", products), ("per_day", per_day)):
            _whole(name, value, 1)
        people = sorted(range(1, customers + 1), key=lambda number: zlib.crc32(b"%d" % number))
        goods = sorted(catalogue(products), key=lambda product: product.section not in _PROGRAMS)
        return self.zipf(people, customers // 50), self.zipf(goods), self.moments(per_day)


def customers(n: int) -> Rows:
    """Yield n customers (id, name, email, created_at), who joined in the year before OPENING."""
    rng = _Random(1)

    def one(number: int) -> dict[str, Any]:
        given, family = rng.one(_GIVEN), rng.one(_FAMILY)
        email = f"{given}.{family}{number}@example.com".lower()  # a reserved domain: RFC 2606
        joined = OPENING - timedelta(milliseconds=1 + int(rng.random() * 365 * 86_400_000))
        return {"id": number, "name": f"{given} {family}", "email": email, "created_at": joined}

    return map(one, range(1, 1 + _whole("n", n, 0)))


def orders(n: int, customers: int = 1000, products: int = 1000, per_day: int = 200) -> Rows:
    """Yield n orders in order of time, about per_day a day from OPENING on.

    Keys: id, customer_id, status, created_at, items (product_id, quantity, price of one piece).
    """
    rng = _Random(2)
    customer, product, moments = rng.trade(customers, products, per_day)

    def one(number: int) -> dict[str, Any]:
        basket = dict.fromkeys(product() for _ in range(rng.one(_LINES)))
        items = [{"product_id": p.id, "quantity": rng.one(_QTY), "price": p.price} for p in basket]
        order = {"id": number, "customer_id": customer(), "status": rng.one(_STATUSES)}
        return order | {"created_at": next(moments), "items": items}

    return map(one, range(1, 1 + _whole("n", n, 0)))


def events(n: int, customers: int = 1000, products: int = 1000, per_day: int = 1000) -> Rows:
    """Yield n events as MongoDB documents, from about per_day visits a day.

    Views lead to some clicks, clicks to few purchases (`value`: cents). Visits overlap in time.
    """
    rng = _Random(3)
    customer, product, moments = rng.trade(customers, products, per_day)

    def visits() -> Rows:
        for moment in moments:
            user = customer()
            for viewed in [product() for _ in range(rng.one(_VIEWS))]:
                for kind, chance in _STEPS:
                    if rng.random() >= chance:
                        break
                    value = int(viewed.price * 100) if kind == "purchase" else 0
                    event = {"userId": user, "eventType": kind, "productId": viewed.id}
                    yield event | {"value": value, "timestamp": moment}
                    moment += timedelta(milliseconds=2_000 + int(rng.random() * 60_000))

    return islice(visits(), _whole("n", n, 0))


def copy_rows(
    connection: "Connection[Any]", table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Append rows by COPY, all or none; return how many. Commits, unless a transaction is open."""
    from psycopg import errors, sql

    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    target = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(*table.split(".")), names)
    try:
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(target) as copy:
                for row in rows:
                    copy.write_row(row)
            return cursor.rowcount
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName) as error:
        wanted = f"First create the table {table} with the columns {', '.join(columns)}."
        raise LookupError(f"{error.diag.message_primary}. {wanted}") from None


def load_products(
    connection: "Connection[Any]", rows: int | None = None, table: str = "products", start: int = 0
) -> int:
    """Append `catalogue(rows, start)`: columns name, description, price. See `copy_rows`."""
    lines = ((p.name, p.summary, p.price) for p in catalogue(rows, start))
    return copy_rows(connection, table, ("name", "description", "price"), lines)


def insert_events(collection: "Collection[dict[str, Any]]", n: int, **options: int) -> None:
    """Insert `events(n, **options)` into a MongoDB collection, 5,000 at a time."""
    documents = events(n, **options)
    while batch := list(islice(documents, 5_000)):
        collection.insert_many(batch, ordered=False)
