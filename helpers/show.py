"""Pictures of query plans, comparisons, growth and sessions; and claims in words.

A picture is a PNG on a light panel of its own, since no colour has 4.5:1 on both a white and a
#111111 page, and a text that is the same on every run. Colours: Okabe and Ito, made darker.
"""

import base64
import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import cycle
from typing import Any

import psycopg

from helpers.sessions import Event

WIDTH = 720  # of every picture, in CSS pixels; the PNG has twice as many
PANEL, SHADE, EDGE, GREY, INK = "#fbfbf8", "#efefea", "#cfcfc8", "#595959", "#000000"
BLUE, RED, *_ = COLOURS = "#0068a3", "#b34700", INK, "#8f3f70"
STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "text.parse_math": False}
BOLD: Any = {"weight": "bold"}
SMALL: Any = {"fontsize": 8.5, "color": GREY}
CODE: Any = {"fontsize": 8.5, "family": "DejaVu Sans Mono"}  # 6.9 pixels a character
COLUMNS = ("rows estimated", 405), ("rows actual", 515), ("own time", 612), ("own blocks", 706)
Lines = Mapping[str, Sequence[float]]
Node = dict[str, Any]  # as in EXPLAIN's JSON; keys in lower case are added here


class Picture:
    """Displayed as a PNG, as text by its alternative text. draw(page) returns the height."""

    def __init__(self, alt: str, title: str, draw: Callable[[Any], float]) -> None:
        self.alt, self.title, self._draw = alt, title, draw

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        from matplotlib import figure, patches, rc_context  # here: it takes a second or two

        with rc_context(STYLE), io.BytesIO() as file:
            sheet = figure.Figure((WIDTH / 96, 4), dpi=192, facecolor="none")
            page = sheet.add_axes((0, 0, 1, 1), xlim=(0, WIDTH))
            page.axis("off")
            page.text(20, 30, self.title, fontsize=11, **BOLD)
            height = self._draw(page)
            page.set_ylim(height, 0)
            sheet.set_size_inches(WIDTH / 96, height / 96)
            look: Any = {"boxstyle": "round,pad=0,rounding_size=10", "fc": PANEL, "ec": EDGE}
            page.add_patch(patches.FancyBboxPatch((1, 1), WIDTH - 2, height - 2, zorder=-1, **look))
            sheet.savefig(file, format="png", metadata={"Software": None})
            png = base64.b64encode(file.getvalue()).decode()
        look = {"width": WIDTH, "alt": self.alt}  # where every exporter looks for it
        return {"image/png": png, "text/plain": self.alt}, {"image/png": look}


def claim(text: str, condition: object, measured: object = "") -> None:
    """Print "✓ text" when the condition holds, else "✗ text" and what was measured."""
    found = f" (measured: {measured})" if str(measured) else ""
    print(f"✓ {text}" if condition else f"✗ {text}{found}")


def _number(value: Any, _: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _axes(page: Any, place: Any, log: str, numbers: Sequence[float]) -> Any:
    """Axes with the shared look; log: which are logarithmic; the last of them has the numbers."""
    axes = page.figure.add_axes(place, facecolor="none", axisbelow=True)
    axes.set(**{f"{name}scale": "log" for name in log})
    if log:  # from one power of ten to another, so that at least two are labelled
        tens = [math.ceil(math.log10(number)) for number in numbers if number > 0]
        axes.set(**{f"{log[-1]}lim": (10.0 ** (min(tens) - 1), 10.0 ** max(tens))})
    axes.spines[:].set_visible(False)
    axes.grid(color=EDGE, lw=0.8)
    axes.minorticks_off()
    axes.tick_params(length=0, labelsize=8.5, labelcolor=GREY)
    axes.xaxis.set_major_formatter(_number)
    axes.yaxis.set_major_formatter(_number)
    return axes


def bars(values: Mapping[str, float], *, title: str, unit: str, log: bool = False) -> Picture:
    """Compare values, such as {"GIN index": 0.4} in unit "ms"; log=True: on a logarithmic scale."""
    numbers, height = [float(value) for value in values.values()], 76 + 42 * len(values)

    def draw(page: Any) -> float:
        axes = _axes(page, (0.34, 28 / height, 0.48, 1 - 76 / height), "x" * log, numbers)
        lengths = [max(number, axes.get_xlim()[0]) for number in numbers] if log else numbers
        drawn = axes.barh(range(len(numbers)), lengths, 0.55, color=BLUE)
        axes.bar_label(drawn, [f"{_number(n)} {unit}" for n in numbers], padding=6, **BOLD)
        axes.set_yticks(range(len(numbers)), [textwrap.fill(name, 30) for name in values])
        axes.tick_params("y", labelsize=9.5, labelcolor=INK)
        axes.axvline(0, color=INK, lw=1)
        axes.margins(x=0.4 if min(numbers) < 0 else 0)
        axes.xaxis.set_visible(log)
        axes.yaxis.grid(False)
        axes.invert_yaxis()
        return height

    return Picture(f"Bars: {title}, {unit}: {', '.join(values)}.", title, draw)


def growth(
    x: Sequence[float], lines: Lines, *, title: str, x_label: str, y_label: str, log: bool = False
) -> Picture:
    """Draw lines over growing x; the labels carry the units; log=True: both axes logarithmic."""

    def draw(page: Any) -> float:
        values = [value for ys in lines.values() for value in ys]
        axes = _axes(page, (0.1, 0.16, 0.64, 0.66), "xy" * log, values)
        for ys, colour, marker in zip(lines.values(), cycle(COLOURS), cycle("osD^v"), strict=False):
            axes.plot(x, ys, color=colour, marker=marker)
        if not log:
            axes.set_ylim(min(0, *values))
        axes.set_xlabel(x_label, **SMALL)
        page.text(20, 54, y_label, **SMALL)
        # Each name stands beside its line's last point, pushed down where two are close.
        ends = [384 - axes.transData.transform((x[-1], ys[-1]))[1] / 2 for ys in lines.values()]
        y = 0.0
        for end, name, colour in sorted(zip(ends, lines, cycle(COLOURS), strict=False)):
            y = max(y + 18, end)
            page.text(550, y, name, color=colour, va="center", **BOLD)
        return 384

    return Picture(f"Lines: {title}, {y_label} over {x_label}: {', '.join(lines)}.", title, draw)


def timeline(log: Sequence[Event], title: str = "What happened, from top to bottom") -> Picture:
    """Draw the log of sessions.open(): a lane for each session, a row for each statement.

    Rows are steps, not seconds: a wait ends in the row of the statement that ran at its end.
    """
    names = list(dict.fromkeys(event.session for event in log))
    wide = (WIDTH - 56) / len(names)
    lanes = {name: 48 + i * wide for i, name in enumerate(names)}
    last = {e.step: max(o.step for o in log if o.started <= (e.ended or math.inf)) for e in log}

    def box(page: Any, x: float, y: float, text: str, outcome: str) -> float:
        lines = textwrap.wrap(text, room := int((wide - 40) / 6.9))
        if outcome not in ("", text.upper()):
            lines.append(textwrap.shorten(f"→ {outcome}".replace("→ ✗", "✗"), room))
        page.barh(y, wide - 24, 15 * len(lines) + 8, left=x, color=PANEL, ec=EDGE, align="edge")
        for line in lines:
            y += 15
            page.text(x + 8, y, line, color={"✗": RED, "→": BLUE}.get(line[0], INK), **CODE)
        return y + 8

    def draw(page: Any) -> float:
        top, since = 84.0, {}
        for e in log:
            page.text(30, top + 15, str(e.step), ha="right", **SMALL)
            waits = e.blocked_by or last[e.step] > e.step
            x = lanes[e.session]
            foot = box(page, x, top, e.statement, "" if waits else e.outcome)
            if waits:
                since[e.step], foot = foot, foot + 28
            for blocker in filter(None, e.blocked_by.split(", ")):
                there = lanes.get(blocker, x)
                tip = there + (wide - 28 if there < x else 4), foot - 13
                arrow = {"arrowstyle": "-|>", "color": RED} if there != x else None
                look: Any = {"va": "center", "color": RED, "arrowprops": arrow, **BOLD}
                page.annotate(f"waits for {e.blocked_by}", tip, (x + 24, foot - 13), **look)
            foot += 24 * (waits and last[e.step] == e.step)
            for w in [w for w in log if w.step in since and last[w.step] == e.step]:
                x, begin = lanes[w.session], since.pop(w.step)
                look = {"ec": RED, "hatch": "////"} if w.blocked_by else {"ec": BLUE}
                page.barh(begin, 14, foot - 23 - begin, left=x, align="edge", color="none", **look)
                box(page, x, foot - 23, "", w.outcome)
            top = foot + 10
        for name, x in lanes.items():
            page.text(x, 72, name, fontsize=11, color=BLUE, **BOLD)
            page.barh(46, wide - 8, top - 46, left=x - 8, color=SHADE, align="edge", zorder=0)
        return top + 10

    alt = f"Timeline of {' and '.join(names)}:"
    for e in log:
        wait = f"waits for {e.blocked_by}, " if e.blocked_by else ""
        alt += f"\n{e.step}. {e.session}: {e.statement} → {wait}{textwrap.shorten(e.outcome, 60)}"
    return Picture(alt, title, draw)


def _visit(node: Node, depth: int = 0, crew: float = 1, early: bool = False) -> Iterator[Node]:
    """Every node from the top, with its depth, totals, error and name as in EXPLAIN's text."""
    name, loops, index = node["Node Type"], node.get("Actual Loops", 0), node.get("Index Name")
    of = node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name") or ""
    # Whose rows it asks for: an InitPlan or CTE runs when another node than its parent asks.
    node["asks"] = f"(CTE {of})" if name == "CTE Scan" else str({**node, "Plans": ""})
    if name == "Aggregate":
        name = {"Sorted": "Group", "Hashed": "Hash"}.get(node["Strategy"], "") + name
        name = f"{node['Partial Mode']} {name}".removeprefix("Simple ")
    if node.get("Join Type", "Inner") != "Inner":
        name = f"{name.removesuffix(' Join')} {node['Join Type']} Join"
    node["name"] = "Parallel " * node["Parallel Aware"] + node.get("Operation", name)
    node["depth"], node["about"] = depth, [node.get("Subplan Name"), index, of]
    # Stopped early is not overestimated, and bitmap operations report no rows:
    # https://www.postgresql.org/docs/17/using-explain.html#USING-EXPLAIN-CAVEATS
    guess, found = max(1, node["Plan Rows"]), max(1, node.get("Actual Rows", 1))
    known = loops and name not in ("BitmapAnd", "BitmapOr") and not (early and guess > found)
    node["error"] = max(guess / found, found / guess) if known else 1.0
    reads_all = ("Sort", "Hash", "Aggregate", "HashAggregate", "Bitmap Heap Scan")
    early = name == "Limit" or (early and name not in reads_all)
    # A time is the mean of the loops, and the processes of a parallel plan loop side by side.
    node["ms"] = node["own ms"] = node.get("Actual Total Time", 0) * loops / crew
    node["blocks"] = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
    node["own blocks"] = node["blocks"]
    yield node
    for child in node.setdefault("Plans", []):
        if name.startswith("Gather"):
            crew = max(1, child.get("Actual Loops", 0) / (loops or 1))
        yield from _visit(child, depth + 1, crew, early)
    shapes = [child["shape"] for child in node["Plans"]]
    shape = f"{node['Subplan Name']}: {node['name']}" if "Subplan Name" in node else node["name"]
    if index:
        shape += f" on {index}" if "Bitmap" in name else f" using {index}"
    elif of and name != "Bitmap Heap Scan":
        shape += f" on {of}"
    below = f"({', '.join(shapes)})" if len(shapes) > 1 else "".join(shapes)
    node["shape"] = shape + f" > {below}" * bool(below)


class Plan(Picture):
    """A query plan to look at and to ask: shape (one line), node_types (EXPLAIN's "Node Type").

    Also estimated_rows and, None unless it ran, rows, execution_ms, buffers (blocks of 8 kB) and
    estimate_error: the worst factor, 1 or more, between estimated and actual rows of any node.
    """

    def __init__(self, explained: Mapping[str, Any]) -> None:
        root, ran = explained["Plan"], "Execution Time" in explained
        self.nodes = list(_visit(root))
        for node in self.nodes:
            for child in node["Plans"]:
                name = f"({child.get('Subplan Name', 'no subplan')})"
                user = next((other for other in self.nodes if name in other["asks"]), node)
                user["own ms"] -= child["ms"]
                user["own blocks"] -= child["blocks"]
        self.shape, self.node_types = root["shape"], [node["Node Type"] for node in self.nodes]
        self.estimated_rows, self.rows = root["Plan Rows"], root.get("Actual Rows")
        self.execution_ms = explained.get("Execution Time")
        self.buffers = root["blocks"] if ran else None
        self.estimate_error = max(node["error"] for node in self.nodes) if ran else None
        cost = f"{_number(self.execution_ms)} ms, {self.buffers:,} blocks" if ran else "not run"
        super().__init__(f"Query plan: {self.shape}", f"Query plan: {cost}", self._paint)

    def uses(self, index: str) -> bool:
        """Whether the plan reads this index anywhere."""
        return any(node.get("Index Name") == index for node in self.nodes)

    def _paint(self, page: Any) -> float:
        y, above, total = 62.0, [0.0] * 99, self.nodes[0]
        indent = min(12, 160 / max(1, *(node["depth"] for node in self.nodes)))
        for head, right in COLUMNS if self.buffers is not None else COLUMNS[:1]:
            page.text(right, y, head, ha="right", **SMALL)
        for node in self.nodes:
            depth, loops, error = node["depth"], node.get("Actual Loops"), node["error"]
            x, y = 20 + indent * depth, y + 28
            if depth:
                page.plot([x - 7, x - 7, x - 2], [above[depth], y - 4, y - 4], color=GREY, lw=0.8)
            page.text(x, y, node["name"], **BOLD)
            page.text(405, y, f"{node['Plan Rows']:,}", ha="right")
            if error >= 10:
                way = "low" if node["Actual Rows"] > node["Plan Rows"] else "high"
                page.text(405, y + 15, f"{error:,.0f}× too {way}", ha="right", size=8.5, color=RED)
            if loops is not None:
                page.text(515, y, f"{node['Actual Rows']:,}" if loops else "never run", ha="right")
                page.text(515, y + 15, f"× {loops:,} loops" * (loops > 1), ha="right", **SMALL)
            for what, unit, right in (("ms", " ms", 612), ("blocks", "", 706)) if loops else ():
                own = max(0, node[f"own {what}"])
                page.text(right, y, _number(own) + unit, ha="right")
                parts = [72, 72 * own / (total[what] or 1)]
                page.barh([y + 10] * 2, parts, 6, left=right - 72, color=[SHADE, BLUE])
            about = textwrap.wrap(", ".join(filter(None, node["about"])), int((290 - x) / 6.9))
            for line in about or [""]:
                y += 15
                page.text(x, y, line, **CODE)
            above[depth + 1] = y + (5 if about else -10)
        return y + 18


def plan(connection: Any, sql: str, params: Any = None, *, analyze: bool = True) -> Plan:
    """Explain a statement: run it, unless analyze=False, and roll back what it changed.

    connection: from psycopg, its open transaction goes on as it was; or lab.postgres(), which
    opens one. What cannot be rolled back stays: sequences, dead rows. Raises psycopg's errors.
    """
    if not isinstance(connection, psycopg.Connection):
        if getattr(connection, "kind", "") != "postgresql":
            raise TypeError(f"show.plan takes a psycopg connection, not {connection!r:.40}")
        with closing(connection.connect()) as opened:
            return plan(opened, sql, params, analyze=analyze)
    query = f"EXPLAIN ({'ANALYZE, BUFFERS, ' * analyze}FORMAT JSON) {sql}".encode()
    # A savepoint when the caller has a transaction. Not prepared: planned anew every time.
    # binary: because that protocol refuses a second statement after a semicolon.
    with connection.transaction(force_rollback=True):
        cursor = psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)
        row: Any = cursor.execute(query, params, prepare=False, binary=True).fetchone()
    return Plan(row[0][0])
