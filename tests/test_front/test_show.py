"""Plans of real statements, and pictures as JupyterLab and the regression run get them."""

import base64
import io
import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy
import psycopg
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.image import imread
from psycopg.rows import dict_row

from helpers import lab, show
from helpers.sessions import Event

SEARCH = (
    "SELECT id, name FROM products WHERE words @@ to_tsquery('english', %s)"
    " ORDER BY ts_rank(words, to_tsquery('english', %s)) DESC"
)


@pytest.fixture(scope="module")
def pg() -> Any:
    """Return a database with 20,000 products, one in a hundred of them a laptop, and orders."""
    database = lab.postgres("92")
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE products (id int PRIMARY KEY, name text, price int, words tsvector"
            " GENERATED ALWAYS AS (to_tsvector('english', name)) STORED);"
            "INSERT INTO products SELECT id, CASE id % 100 WHEN 0 THEN 'a laptop' ELSE 'a pen' END,"
            " id FROM generate_series(1, 20000) id;"
            "CREATE INDEX idx_products_search ON products USING gin (words);"
            "CREATE TABLE orders (id int PRIMARY KEY, product int, amount int);"
            "INSERT INTO orders SELECT id, id * 7, 1 FROM generate_series(1, 200) id"
        )
        connection.execute("VACUUM ANALYZE products, orders")
    return database


@pytest.fixture
def connection(pg: Any) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection in autocommit mode."""
    with pg.connect(autocommit=True) as opened:
        yield opened


def shown(picture: show.Picture) -> tuple[numpy.ndarray, dict[str, str], dict[str, Any]]:
    """Return the pixels, the data and the metadata that IPython would send to a notebook."""
    data, metadata = InteractiveShell.instance().display_formatter.format(picture)
    with io.BytesIO(base64.b64decode(data["image/png"])) as file:
        return imread(file, format="png"), data, metadata


# Plans to ask


def test_a_search_through_the_index(connection: Any) -> None:
    plan = show.plan(connection, SEARCH, ["laptop", "laptop"])
    assert plan.shape == "Sort > Bitmap Heap Scan > Bitmap Index Scan on idx_products_search"
    assert plan.node_types == ["Sort", "Bitmap Heap Scan", "Bitmap Index Scan"]
    assert plan.uses("idx_products_search") and not plan.uses("products_pkey")
    assert plan.rows == 200
    assert 100 < plan.estimated_rows < 400
    assert 1 <= plan.estimate_error < 2
    assert plan.execution_ms > 0
    assert plan.buffers > 50


def test_a_common_word_reads_the_whole_table(connection: Any) -> None:
    plan = show.plan(connection, SEARCH.split(" ORDER")[0], ["pen"])
    assert plan.shape == "Seq Scan on products"
    assert not plan.uses("idx_products_search")


def test_changed_settings_count_although_psycopg_prepares(pg: Any) -> None:
    sql = "SELECT name FROM products WHERE id = 77"
    with pg.connect(autocommit=True, prepare_threshold=0) as connection:
        for _ in range(8):
            assert show.plan(connection, sql).shape == "Index Scan using products_pkey"
        connection.execute("SET enable_indexscan = off")
        connection.execute("SET enable_bitmapscan = off")
        assert show.plan(connection, sql).shape == "Seq Scan on products"


def test_loops_are_compared_loop_by_loop(connection: Any) -> None:
    connection.execute("SET enable_hashjoin = off")
    connection.execute("SET enable_mergejoin = off")
    connection.execute("SET enable_memoize = off")
    plan = show.plan(
        connection, "SELECT * FROM orders JOIN products ON products.id = orders.product"
    )
    assert plan.shape == "Nested Loop > (Seq Scan on orders, Index Scan using products_pkey)"
    inner = plan.nodes[2]
    assert inner["Actual Loops"] == 200
    assert inner["ms"] == pytest.approx(200 * inner["Actual Total Time"])
    assert plan.rows == 200
    assert plan.estimate_error < 1.5  # 1 row in each loop, not 1 estimated and 200 found


def test_a_wrong_estimate_is_found_wherever_it_is(connection: Any) -> None:
    # Two conditions that always hold together are estimated as if they were independent.
    plan = show.plan(
        connection, "SELECT count(*) FROM products WHERE price < 200 AND id < 200 AND id + 0 < 200"
    )
    assert plan.rows == plan.estimated_rows == 1
    assert plan.estimate_error > 10


def test_stopping_early_is_not_a_wrong_estimate(connection: Any) -> None:
    assert show.plan(connection, "SELECT * FROM products LIMIT 10").estimate_error == 1
    behind_sort = "SELECT * FROM (SELECT * FROM products WHERE price + 0 < 0 ORDER BY name) LIMIT 5"
    assert show.plan(connection, behind_sort).estimate_error > 1000


def test_a_parallel_plan(connection: Any) -> None:
    connection.execute("SET parallel_setup_cost = 0")
    connection.execute("SET parallel_tuple_cost = 0")
    connection.execute("SET min_parallel_table_scan_size = 0")
    plan = show.plan(connection, "SELECT count(*) FROM products WHERE price > 0")
    assert plan.node_types == ["Aggregate", "Gather", "Aggregate", "Seq Scan"]
    assert plan.shape == (
        "Finalize Aggregate > Gather > Partial Aggregate > Parallel Seq Scan on products"
    )
    scan = plan.nodes[3]  # its processes ran side by side: their time is not added up
    assert scan["ms"] == pytest.approx(scan["Actual Total Time"])
    assert sum(node["own blocks"] for node in plan.nodes) == plan.buffers


@pytest.mark.parametrize(
    ("sql", "shape"),
    [
        (
            "WITH few AS MATERIALIZED (SELECT * FROM products WHERE price < 5000)"
            " SELECT count(*) FROM few",
            "Aggregate > (CTE few: Seq Scan on products, CTE Scan on few)",
        ),
        (
            "SELECT count(*) FROM products WHERE price > (SELECT avg(price) FROM products)",
            "Aggregate > (InitPlan 1: Aggregate > Seq Scan on products, Seq Scan on products)",
        ),
        (
            "SELECT id, (SELECT name FROM products WHERE id = product) FROM orders",
            "Seq Scan on orders > SubPlan 1: Index Scan using products_pkey",
        ),
    ],
)
def test_time_and_blocks_are_counted_once(connection: Any, sql: str, shape: str) -> None:
    connection.execute("SET max_parallel_workers_per_gather = 0")
    plan = show.plan(connection, sql)
    assert plan.shape == shape
    assert all(node["own ms"] >= -0.01 and node["own blocks"] >= 0 for node in plan.nodes)
    whole = sum(node["own ms"] for node in plan.nodes)
    assert whole == pytest.approx(plan.nodes[0]["ms"], rel=0.01)
    assert sum(node["own blocks"] for node in plan.nodes) == plan.buffers


def test_a_node_that_never_ran_is_no_wrong_estimate(connection: Any) -> None:
    connection.execute("SET enable_hashjoin = off")
    connection.execute("SET enable_mergejoin = off")
    plan = show.plan(
        connection,
        "SELECT * FROM (SELECT * FROM orders WHERE id = -1) o JOIN products ON price = amount",
    )
    assert plan.nodes[-1]["Actual Loops"] == 0
    assert plan.estimate_error < 200  # the 200 expected of the join, not the 20,000 of products
    shown(plan)


# What it does to the caller's connection


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO orders VALUES (1000, 1, 1)",
        "UPDATE orders SET amount = 99",
        "DELETE FROM orders",
        "MERGE INTO orders USING products ON orders.id = products.id"
        " WHEN MATCHED THEN UPDATE SET amount = 99",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM gone",
    ],
)
def test_a_change_is_measured_and_rolled_back(connection: Any, sql: str) -> None:
    before = connection.execute("SELECT * FROM orders ORDER BY id").fetchall()
    assert show.plan(connection, sql).buffers > 0
    assert connection.execute("SELECT * FROM orders ORDER BY id").fetchall() == before


def test_an_open_transaction_goes_on(pg: Any) -> None:
    with pg.connect() as connection, pg.connect(autocommit=True) as other:
        connection.execute("UPDATE orders SET amount = 5 WHERE id = 1")
        show.plan(connection, "UPDATE orders SET amount = 6 WHERE id = 1")
        with pytest.raises(psycopg.errors.UndefinedTable):
            show.plan(connection, "SELECT * FROM nowhere")
        mine = connection.execute("SELECT amount FROM orders WHERE id = 1").fetchone()
        theirs = other.execute("SELECT amount FROM orders WHERE id = 1").fetchone()
        assert (mine, theirs) == ((5,), (1,))
        connection.rollback()


def test_a_connection_without_a_transaction_is_left_without_one(pg: Any) -> None:
    with pg.connect(row_factory=dict_row) as connection:
        assert show.plan(connection, "SELECT 100 % 7").rows == 1
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_the_lab_is_enough(pg: Any) -> None:
    assert show.plan(pg, "SELECT * FROM products WHERE id = 5").uses("products_pkey")
    with pytest.raises(TypeError, match="psycopg connection"):
        show.plan(pg.dsn, "SELECT 1")


def test_only_one_statement_is_run(connection: Any) -> None:
    with pytest.raises(psycopg.errors.SyntaxError, match="multiple commands"):
        show.plan(connection, "SELECT 1; DELETE FROM orders; COMMIT")
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (200,)


def test_without_analyze_nothing_runs(connection: Any) -> None:
    plan = show.plan(connection, "SELECT pg_sleep(600), 1 / (id - id) FROM products", analyze=False)
    assert (plan.shape, plan.estimated_rows) == ("Seq Scan on products", 20_000)
    assert (plan.rows, plan.execution_ms, plan.buffers, plan.estimate_error) == (None,) * 4
    shown(plan)


# Pictures


def event(session: str, step: int, statement: str, **more: Any) -> Event:
    """Return a statement that took a tenth of a step."""
    return Event(session, step, statement, **{"started": step, "ended": step + 0.1} | more)


LOG = [
    event("A", 1, "BEGIN", outcome="BEGIN"),
    event("A", 2, "UPDATE stock SET amount = amount - 1 WHERE id = 1", outcome="UPDATE 1"),
    event("B", 3, "SELECT $1, '{$x}' FROM stock", outcome="7", ended=4.05, blocked_by="A"),
    event("A", 4, "COMMIT", outcome="COMMIT"),
    event("B", 5, "SELECT pg_sleep(60)", ended=None, blocked_by="autovacuum worker"),
]


def pictures(pg: Any) -> list[show.Picture]:
    """Return one picture of each kind."""
    return [
        show.plan(pg, "SELECT count(*) FROM orders"),
        show.bars({"sequential scan": 81.2, "index $1": 0}, title="Search", unit="ms"),
        show.bars({"sequential scan": 81.2, "index $1": 0}, title="Search", unit="ms", log=True),
        show.growth(
            [10, 1000], {"a": [1, 2], "b": [0, 3]}, title="T", x_label="rows", y_label="ms"
        ),
        show.growth(
            [10, 1000],
            {"a": [1, 2], "b": [0, 3]},
            title="T",
            x_label="rows",
            y_label="ms",
            log=True,
        ),
        show.timeline(LOG),
    ]


def test_every_picture_is_a_png_and_a_text_that_does_not_vary(pg: Any) -> None:
    for first, second in zip(pictures(pg), pictures(pg), strict=True):
        pixels, data, metadata = shown(first)
        assert set(data) == {"image/png", "text/plain"}
        assert data["text/plain"] == shown(second)[1]["text/plain"] == repr(second)
        assert "0x" not in data["text/plain"] and "object at" not in data["text/plain"]
        # Twice as many pixels as it is wide on the page, so that it is sharp on any screen.
        assert pixels.shape[1] == 2 * metadata["image/png"]["width"] == 2 * show.WIDTH
        assert pixels.shape[0] > 150


def test_the_panel_is_opaque_and_its_corners_are_clear(pg: Any) -> None:
    for picture in pictures(pg):
        pixels = shown(picture)[0]
        for y, x in itertools.product((0, -1), (0, -1)):
            assert pixels[y, x, 3] == 0
        inside = pixels[40:-40, 40:-40]
        assert (inside[..., 3] == 1).all()
        dark = (inside[..., :3].max(axis=2) < 0.35).mean()
        assert 0.0003 < dark < 0.3  # something is written on it, and it is not a black square


def test_texts_say_what_the_pictures_show(pg: Any) -> None:
    texts = [repr(picture) for picture in pictures(pg)]
    assert texts[0] == "Query plan: Aggregate > Seq Scan on orders"
    assert texts[1] == texts[2] == "Bars: Search, ms: sequential scan, index $1."
    assert texts[3] == texts[4] == "Lines: T, ms over rows: a, b."
    assert texts[5].splitlines()[3:] == [
        "3. B: SELECT $1, '{$x}' FROM stock → waits for A, 7",
        "4. A: COMMIT → COMMIT",
        "5. B: SELECT pg_sleep(60) → waits for autovacuum worker, still running",
    ]


def test_more_time_is_a_longer_bar() -> None:
    def blue(values: dict[str, float], **options: Any) -> list[int]:
        """Count the blue pixels in the middle of each bar."""
        pixels = shown(show.bars(values, title="", unit="ms", **options))[0]
        is_blue = numpy.abs(pixels[..., :3] - (0, 0x68 / 255, 0xA3 / 255)).max(axis=2) < 0.02
        rows = is_blue.sum(axis=1)
        starts = [y for y in range(1, len(rows)) if rows[y] and not rows[y - 1]]
        return [int(rows[y + 4]) for y in starts]

    one, ten = blue({"one": 1, "ten": 10})
    assert ten / one == pytest.approx(10, rel=0.1)
    one, ten, hundred = blue({"one": 1, "ten": 10, "hundred": 100}, log=True)
    assert ten / one == pytest.approx(2, rel=0.1)
    assert hundred / one == pytest.approx(3, rel=0.1)
    below, above = blue({"below": -5, "above": 5})
    assert below == pytest.approx(above, rel=0.05)


def test_a_zero_on_a_logarithmic_scale_has_its_label() -> None:
    pixels = shown(show.bars({"some": 10, "none": 0}, title="", unit="ms", log=True))[0]
    second_bar = pixels[170:240, 500:700, :3].max(axis=2)
    assert (second_bar < 0.3).sum() > 200


def test_colours_have_contrast_and_stay_apart_for_the_colour_blind() -> None:
    def linear(colour: str) -> numpy.ndarray:
        values = numpy.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)

    def contrast(colour: str, ground: str) -> float:  # WCAG 2.2
        low, high = sorted(linear(c) @ (0.2126, 0.7152, 0.0722) for c in (colour, ground))
        return float((high + 0.05) / (low + 0.05))

    for ink, ground in itertools.product(
        (*show.COLOURS, show.GREY, show.INK), (show.PANEL, show.SHADE)
    ):
        assert contrast(ink, ground) >= 4.5, (ink, ground)

    # Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
    seen = [
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    ]
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    for matrix in seen:
        points = []
        for colour in show.COLOURS:
            rgb = numpy.clip(numpy.array(matrix) @ linear(colour), 0, 1)
            x, y, z = numpy.cbrt(numpy.array(to_xyz) @ rgb / (0.9505, 1, 1.089) + 1e-4)
            points.append(numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)]))  # CIELAB
        for one, other in itertools.combinations(points, 2):
            assert numpy.linalg.norm(one - other) > 15


@pytest.mark.parametrize("length", [1, 8])
def test_a_deep_plan_of_long_names_fits(connection: Any, length: int) -> None:
    index = "idx_" + "x" * 59
    inner = f"SELECT id FROM long WHERE id < {10**9}"
    for i in range(length):
        inner = f"SELECT count(id) AS id FROM ({inner}) q{i} GROUP BY id % 3"
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TABLE long (id int)")
        connection.execute("INSERT INTO long SELECT generate_series(1, 100)")
        connection.execute(f"CREATE INDEX {index} ON long (id)")
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = show.plan(connection, inner)
    assert plan.uses(index)
    assert len(plan.node_types) > length
    pixels = shown(plan)[0]
    assert pixels.shape[0] > 80 * len(plan.node_types)
    margin = pixels[40:-40, -26:-6, :3]  # nothing runs out of the panel
    assert numpy.ptp(margin, axis=(0, 1)).max() < 0.02


def test_claims_print_and_never_raise(capsys: pytest.CaptureFixture[str]) -> None:
    show.claim("the index is faster", numpy.bool_(True), "2×")
    show.claim("the index is 20× faster", 3 >= 20, f"{3}×")
    show.claim("nothing measured", [])
    show.claim("zero", False, 0)
    show.claim("many", None, numpy.array([1, 2]))
    assert capsys.readouterr().out.splitlines() == [
        "✓ the index is faster",
        "✗ the index is 20× faster (measured: 3×)",
        "✗ nothing measured",
        "✗ zero (measured: 0)",
        "✗ many (measured: [1 2])",
    ]


def test_importing_show_does_not_import_matplotlib() -> None:
    code = "import sys; from helpers import show; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
