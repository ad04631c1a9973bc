"""Charts as SVG, each with its numbers as a table behind it, for who cannot see it and who wants to know exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppmproxy.server.admin.markup import Html, joined, markup

WIDTH, HEIGHT = 600, 80  # units of the drawing, which the style stretches


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its height, and how much of that is shown as failed."""

    label: str
    value: float
    failed: float = 0.0
    text: str = ""  # the value with its unit


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a line, by its place from 0 (left) to 1."""

    place: float
    value: float
    label: str
    text: str


def bar_chart(title: str, summary: str, bars: Sequence[Bar]) -> Html:
    """Bars from left to right."""
    highest = max((bar.value for bar in bars), default=0.0) or 1.0
    step = WIDTH / max(1, len(bars))
    drawn = joined(_bar(index * step, step, bar, highest) for index, bar in enumerate(bars))
    rows = joined(_row(bar.label, bar.text) for bar in bars if bar.value)
    return _figure(title, summary, drawn, rows)


def line_chart(title: str, summary: str, points: Sequence[Point]) -> Html:
    """A line through points in their order, with a dot on each."""
    highest = max((point.value for point in points), default=0.0) or 1.0
    places = [(point.place * WIDTH, _y(point.value, highest)) for point in points]
    line = markup('<polyline points="{points}"/>', points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    dots = markup('<path class="dots" d="{places}"/>', places="".join(f"M{x:.1f} {y:.1f}h0" for x, y in places))
    rows = joined(_row(point.label, point.text) for point in points)
    return _figure(title, summary, joined([line, dots]), rows)


def _bar(x: float, step: float, bar: Bar, highest: float) -> Html:
    """A rectangle for all of it, and one in front of that for what failed."""
    heights = [("", bar.value), ("failed", bar.failed)]
    return joined(
        markup(
            '<rect class="{name}" x="{x}" y="{y}" width="{width}" height="{height}"/>',
            name=name,
            x=f"{x + step * 0.1:.1f}",
            y=f"{_y(height, highest):.1f}",
            width=f"{step * 0.8:.1f}",
            height=f"{_y(0.0, highest) - _y(height, highest):.1f}",
        )
        for name, height in heights
        if height
    )


def _y(value: float, highest: float) -> float:
    return HEIGHT - 4 - (HEIGHT - 8) * value / highest


def _row(label: str, text: str) -> Html:
    return markup('<tr><th scope="row">{label}</th><td>{text}</td></tr>', label=label, text=text)


_FIGURE = """<figure><figcaption>{title}: <strong>{summary}</strong></figcaption>
<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{title}: {summary}">{drawn}</svg>
<details><summary>Numbers<span class="unseen"> of {title}</span></summary>{table}</details></figure>"""


def _figure(title: str, summary: str, drawn: Html, rows: Html) -> Html:
    table = markup("<table><tbody>{rows}</tbody></table>", rows=rows) if rows else markup("<p>There are none yet.</p>")
    return markup(_FIGURE, title=title, summary=summary, drawn=drawn, table=table, width=str(WIDTH), height=str(HEIGHT))
