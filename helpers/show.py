"""Pictures of query plans, comparisons, growth and sessions; and claims in words.

A picture is a PNG on a light panel of its own: no colour reaches a contrast of 4.5:1 on both a
white and a #111111 page. Its text/plain is the same on every run and tells what the picture shows.
Colours: Okabe and Ito (https://jfly.uni-koeln.de/color/), darkened to 4.5:1 on the panel.
"""

import base64
import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from helpers.sessions import Event

WIDTH = 720  # of every picture, in CSS pixels
PANEL, SHADE, EDGE, GREY, INK = "#fbfbf8", "#efefea", "#cfcfc8", "#595959", "#1a1a1a"
BLUE, RED, GREEN, PURPLE = COLOURS = "#0068a3", "#b34700", "#006b4e", "#8f3f70"
SMALL: Any = {"fontsize": 8.5, "color": GREY}
CODE: Any = {"fontsize": 8.5, "family": "DejaVu Sans Mono"}  # 6.9 pixels a character


class Picture:
    """Displayed as a PNG; as text, its alternative text. Pixels count from the top left."""

    def __init__(self, alt: str, title: str, height: float, draw: Callable[[Any], None]) -> None:
        self.alt, self.title, self.height, self.draw = alt, title, height, draw

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        png = base64.b64encode(self.png()).decode()
        size = {"width": WIDTH, "alt": self.alt}  # the PNG has twice as many pixels
        return {"image/png": png, "text/plain": self.alt}, {"image/png": size}

    def png(self) -> bytes:
        """Draw the picture; what is not the panel is transparent."""
        # Imported here because it takes a second or two.
        from matplotlib import figure, patches, rc_context

        style: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK}
        style |= {"text.parse_math": False, "hatch.linewidth": 1.5}  # a $ in SQL is a $
        with rc_context(style), warnings.catch_warnings(), io.BytesIO() as file:
            warnings.simplefilter("ignore")  # characters that the font lacks
            sheet = figure.Figure((WIDTH / 96, self.height / 96), dpi=192, facecolor="none")
            page = sheet.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(self.height, 0))
            page.axis("off")
            box: Any = {"boxstyle": "round,pad=0,rounding_size=10", "fc": PANEL, "ec": EDGE}
            page.add_patch(patches.FancyBboxPatch((1, 1), WIDTH - 2, self.height - 2, **box))
            page.text(20, 30, self.title, fontsize=11, weight="bold")
            self.draw(page)
            sheet.savefig(file, format="png", metadata={"Software": None})
            return file.getvalue()


def claim(text: str, condition: object, measured: object = "") -> None:
    """Print "✓ text" when the condition holds, else "✗ text" and what was measured."""
    print(f"✓ {text}" if condition else f"✗ {text} (measured: {measured})")


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def bars(values: Mapping[str, float], *, title: str, unit: str, log: bool = False) -> Picture:
    """Compare a few values, such as {"sequential scan": 81.2, "GIN index": 0.4} in unit "ms".

    log=True draws logarithmic lengths over marked powers of ten; a value of 0 then has no bar.
    """
    numbers = [float(value) for value in values.values()]
    low, high, bottom = min(0.0, *numbers), max(0.0, *numbers), 50 + 42 * len(numbers)
    if log:
        low = math.ceil(math.log10(min(number for number in numbers if number > 0))) - 1
        high = math.ceil(math.log10(high))

    def place(number: float) -> float:
        if log:
            number = math.log10(number) if number > 0 else low
        return 240 + (number - low) / (high - low or 1) * 350

    def draw(page: Any) -> None:
        for power in range(int(low), int(high) + 1) if log else ():
            page.plot([place(10**power)] * 2, [52, bottom], color=EDGE, lw=0.8)
            page.text(place(10**power), bottom + 16, _number(10**power), ha="center", **SMALL)
        for y, name, number in zip(range(72, bottom, 42), values, numbers, strict=True):
            page.text(228, y, textwrap.fill(name, 28), ha="right", va="center")
            page.barh(y, place(number) - place(0), 22, left=place(0), color=BLUE)
            label = f"{_number(number)} {unit}"
            page.text(place(max(number, 0)) + 8, y, label, va="center", weight="bold")
        page.plot([place(0)] * 2, [52, bottom], color=INK, lw=1)

    alt = f"Bars: {title}, {unit}: {', '.join(values)}."
    return Picture(alt, title, bottom + (30 if log else 14), draw)


def growth(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], *,
    title: str, x_label: str, y_label: str, log: bool = False
) -> Picture:
    """Draw up to four lines over growing x; the labels carry units. log=True: on both axes."""
    values = [value for ys in lines.values() for value in ys]

    def draw(page: Any) -> None:
        axes = page.figure.add_axes((0.1, 0.16, 0.64, 0.66), facecolor="none")
        for ys, colour, marker in zip(lines.values(), COLOURS, "osD^", strict=False):
            axes.plot(x, ys, color=colour, marker=marker)
        axes.set_ylim(min(0, *values))
        if log:
            decades = [math.floor(math.log10(value)) for value in values if value > 0]
            axes.set(xscale="log", yscale="log", ylim=(10.0 ** min(decades), 10.0 ** (max(decades) + 1)))
        axes.minorticks_off()
        axes.grid(color=EDGE, lw=0.6)
        axes.tick_params(length=0, labelcolor=GREY, labelsize=8.5)
        axes.spines[:].set_visible(False)
        axes.xaxis.set_major_formatter(_number)
        axes.yaxis.set_major_formatter(_number)
        axes.set_xlabel(x_label, **SMALL)
        page.text(20, 54, y_label, **SMALL)
        y = 0.0  # names stand beside the last points, pushed apart where these are close
        ends = [380 - axes.transData.transform(line.get_xydata()[-1])[1] / 2 for line in axes.lines]
        for end, name, colour in sorted(zip(ends, lines, COLOURS, strict=False)):
            y = max(y + 18, end)
            page.text(552, y, name, color=colour, weight="bold", va="center")

    return Picture(f"Lines: {title}, {y_label} over {x_label}: {', '.join(lines)}.", title, 380, draw)


def _result(event: Event) -> str:
    """What a statement brought: "UPDATE 1", "2 rows"."""
    if event.rows is None:
        return event.outcome
    return f"{len(event.rows)} row{'s' * (len(event.rows) != 1)}"


def timeline(log: Sequence[Event], title: str = "What happened, from top to bottom") -> Picture:
    """Draw the log of sessions.open(): a lane for each session, a row for each statement.

    Rows are steps, not seconds. A statement that waits ends beside the step that let it end.
    """
    lanes = {name: i for i, name in enumerate(dict.fromkeys(event.session for event in log))}
    wide = (WIDTH - 56) / len(lanes)
    tops, bottoms, last, y = {}, {}, {}, 88
    for e in log:
        last[e.step] = sum(o.started <= (e.ended or math.inf) for o in log) ...
