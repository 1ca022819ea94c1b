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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from helpers.sessions import Event

WIDTH = 720  # of every picture, in CSS pixels; the PNG has twice as many
PANEL, SHADE, EDGE, GREY, INK = "#fbfbf8", "#efefea", "#cfcfc8", "#595959", "#1a1a1a"
BLUE, RED, GREEN, _ = COLOURS = "#0068a3", "#b34700", "#006b4e", "#8f3f70"
STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK}
STYLE |= {"text.parse_math": False, "hatch.linewidth": 1.5}  # a $ in SQL is a $
SMALL: Any = {"fontsize": 8.5, "color": GREY}
CODE: Any = {"fontsize": 8.5, "family": "DejaVu Sans Mono"}  # 6.9 pixels a character
Lines = Mapping[str, Sequence[float]]
Node = dict[str, Any]  # as EXPLAIN's JSON has it; keys in lower case are added here


class Picture:
    """Displayed as a PNG, as text by its alternative text. draw(page) returns the height."""

    def __init__(self, alt: str, title: str, draw: Callable[[Any], float]) -> None:
        self.alt, self.title, self._draw = alt, title, draw

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"width": WIDTH, "alt": self.alt}}

    def png(self) -> bytes:
        """Draw it: pixels count from the top left, and outside the panel it is transparent."""
        from matplotlib import figure, patches, rc_context  # here: it takes a second or two

        with rc_context(STYLE), warnings.catch_warnings(), io.BytesIO() as file:
            warnings.simplefilter("ignore")  # characters that the font lacks
            sheet = figure.Figure((WIDTH / 96, 4), dpi=192, facecolor="none")
            page = sheet.add_axes((0, 0, 1, 1), xlim=(0, WIDTH))
            page.axis("off")
            page.text(20, 30, self.title, fontsize=11, weight="bold")
            height = self._draw(page)
            page.set_ylim(height, 0)
            sheet.set_size_inches(WIDTH / 96, height / 96)
            look: Any = {"boxstyle": "round,pad=0,rounding_size=10", "fc": PANEL, "ec": EDGE}
            page.add_patch(patches.FancyBboxPatch((1, 1), WIDTH - 2, height - 2, zorder=-1, **look))
            sheet.savefig(file, format="png", metadata={"Software": None})
            return file.getvalue()


def claim(text: str, condition: object, measured: object = "") -> None:
    """Print "✓ text" when the condition holds, else "✗ text" and what was measured."""
    print(f"✓ {text}" if condition else f"✗ {text} (measured: {measured})")


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _decades(numbers: Iterable[float]) -> tuple[float, float]:
    """The powers of ten around the positive numbers, one more below an exact one."""
    logs = [math.log10(number) for number in numbers if number > 0]
    return 10.0 ** (math.ceil(min(logs)) - 1), 10.0 ** math.ceil(max(logs))


def _axes(page: Any, place: tuple[float, float, float, float], **options: Any) -> Any:
    axes = page.figure.add_axes(place, facecolor="none", axisbelow=True, **options)
    axes.spines[:].set_visible(False)
    axes.grid(color=EDGE, lw=0.8)
    axes.minorticks_off()
    axes.tick_params(length=0, labelsize=8.5, labelcolor=GREY)
    return axes


def bars(values: Mapping[str, float], *, title: str, unit: str, log: bool = False) -> Picture:
    """Compare a few values, such as {"sequential scan": 81.2, "GIN index": 0.4} in unit "ms".

    log=True: lengths grow with the logarithm; a value of 0 then has no bar.
    """
    numbers, height = [float(value) for value in values.values()], 76 + 42 * len(values)

    def draw(page: Any) -> float:
        axes = _axes(page, (0.34, 28 / height, 0.5, 1 - 76 / height))
        if log:
            axes.set(xscale="log", xlim=_decades(numbers))
        axes.barh([textwrap.fill(name, 30) for name in values], numbers, 0.55, color=BLUE)
        for y, number in enumerate(numbers): annotate
        axes.axvline(0, color=INK, lw=1)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(_number)
        axes.tick_params("y", labelsize=9.5, labelcolor=INK)
        return height

    return Picture(f"Bars: {title}, {unit}: {', '.join(values)}.", title, draw)
