"""Small plots as SVG. Colours are classes of the style sheet, and every plot says in words what it shows.

Coordinates are bounded whatever the numbers are; what is no number is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeml.supervisor.dashboard_html import Html, duration, is_number, join, percent, shown, tag

MOST_BARS = 64
_WIDTH = 320.0


def plot(title: str, width: float, height: float, *parts: Html, class_: str = "plot") -> Html:
    """A plot.

    Args:
        title: What it shows, for those who do not see it.
        width: In units of its own.
        height: The same.
        parts: What is drawn.
        class_: For the style sheet.
    """
    # The label alone, and no title element: browsers would show that as a tooltip over every part of the plot.
    return tag("svg", *parts, class_=class_, role="img", aria_label=title, viewBox=f"0 0 {_at(width)} {_at(height)}")


def traffic(minutes: Sequence[Sequence[Any]], now: float, *, length: int = 60) -> Html:
    """Records a minute, answered and refused, over the last hour.

    Args:
        minutes: ``[minute since 1970, refused, all]``, those in which something happened.
        now: Seconds since 1970.
        length: Minutes shown.
    """
    last = int(now // 60) if is_number(now) else 0
    found = {
        int(minute): (max(0.0, refused), max(0.0, total))
        for minute, refused, total in minutes
        if is_number(minute) and is_number(refused) and is_number(total)
    }
    columns = [found.get(last - length + 1 + place, (0.0, 0.0)) for place in range(length)]
    top = max((total for _, total in columns), default=0.0) or 1.0
    height, room = 90.0, 78.0
    step = _WIDTH / length
    drawn = []
    for place, (refused, total) in enumerate(columns):
        good, bad = room * max(0.0, total - refused) / top, room * min(refused, total) / top
        x = place * step
        if total:
            drawn.append(_bar("answered", x + 0.5, room - good, step - 1, good))
            drawn.append(_bar("refused", x + 0.5, room - good - bad, step - 1, bad))
    axis = [_line("axis", 0, room, _WIDTH, room)]
    axis += [
        _text("−60 min" if length == 60 else f"−{length} min", 0, height - 1),
        _text("now", _WIDTH, height - 1, "end"),
    ]
    answered, refused_all = sum(t - r for r, t in columns), sum(r for r, _ in columns)
    title = (
        f"Records of the last {length} minutes: {answered:.0f} answered, {refused_all:.0f} refused; "
        f"at most {top if found else 0:.0f} in a minute."
    )
    return plot(title, _WIDTH, height, *axis, *drawn)


def shares(title: str, parts: Mapping[str, float]) -> Html:
    """One bar of shares, from left to right.

    Args:
        title: What they are of.
        parts: By name; the name is a class of the style sheet, too.
    """
    total = sum(value for value in parts.values() if is_number(value) and value > 0)
    drawn, x = [], 0.0
    for name, value in parts.items():
        if total and is_number(value) and value > 0:
            width = _WIDTH * value / total
            drawn.append(_bar(f"tier-{name}", x, 0, width, 14))
            x += width
    said = ", ".join(f"{name} {percent(value / total)}" for name, value in parts.items() if total)
    return plot(f"{title}: {said or 'nothing yet'}.", _WIDTH, 14, _bar("empty", 0, 0, _WIDTH, 14), *drawn)


def latency(tiers: Mapping[str, Mapping[str, Any]], limits: Mapping[str, float]) -> Html:
    """The quantiles of each tier from the median to the 99.9th percentile, on a logarithmic scale, with the limits.

    Args:
        tiers: By name: ``p50_us``, ``p90_us``, ``p99_us``, ``p999_us``.
        limits: By name, in microseconds.
    """
    keys = ("p50_us", "p90_us", "p99_us", "p999_us")
    values = [each[key] for each in tiers.values() for key in keys if _positive(each.get(key))]
    values += [each for each in limits.values() if _positive(each)]
    low, high = (min(values), max(values)) if values else (1.0, 1000.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    left, right, row = 58.0, 10.0, 26.0
    bottom = row * max(1, len(tiers)) + 6

    def x(value: float) -> float:
        share = (math.log10(value) - first) / (last - first)
        return left + (_WIDTH - left - right) * min(1.0, max(0.0, share))

    drawn: list[Html] = []
    for decade in range(first, last + 1):
        at = x(10.0**decade)
        drawn.append(_line("grid", at, 0, at, bottom))
        # Labels of many decades would lie over each other.
        if (decade - first) % max(1, (last - first) // 4 + (last - first > 4)) == 0:
            anchor = "end" if decade == last else "middle"
            drawn.append(_text(duration(10.0**decade), at, bottom + 11, anchor))
    for name, value in limits.items():
        if _positive(value):
            drawn.append(
                _line(f"limit {'deadline' if name.startswith('deadline') else 'p99'}", x(value), 0, x(value), bottom)
            )
    said = []
    for place, (name, each) in enumerate(tiers.items()):
        y = row * place + row / 2 + 2
        drawn.append(_text(name, 0, y + 3.5, class_="name"))
        known = [each[key] for key in keys if _positive(each.get(key))]
        if known:
            drawn.append(_line("span", x(known[0]), y, x(known[-1]), y))
            drawn += [_circle("quantile", x(value), y, 3.5) for value in known]
            ends = f"median {duration(known[0])}, 99.9th percentile {duration(known[-1])}"
            said.append(f"{shown(name, longest=40)}: {ends}")
    said += [f"limit {name}: {duration(value)}" for name, value in limits.items() if _positive(value)]
    return plot(f"Latency by tier. {'; '.join(said) or 'nothing yet'}.", _WIDTH, bottom + 14, *drawn)


def intervals(title: str, rows: Sequence[tuple[str, float, float, float]]) -> Html:
    """Shares with their intervals, one below the other, on a scale from 0 to 1.

    Args:
        title: What they are.
        rows: Name, value, and both ends.
    """
    known = [row for row in rows if all(is_number(each) for each in row[1:])]
    left, row_height = 78.0, 24.0
    bottom = row_height * max(1, len(known)) + 2

    def x(value: float) -> float:
        return left + (_WIDTH - left - 10) * min(1.0, max(0.0, value))

    drawn = []
    for mark in (0.0, 0.5, 1.0):
        drawn.append(_line("grid", x(mark), 0, x(mark), bottom))
        drawn.append(_text(f"{100 * mark:.0f} %", x(mark), bottom + 11, "end" if mark == 1.0 else "middle"))
    for place, (name, value, low, high) in enumerate(known):
        y = row_height * place + row_height / 2
        drawn.append(_text(name, 0, y + 3.5, class_="name"))
        drawn.append(_line("span", x(low), y, x(high), y))
        drawn += [_line("span", x(end), y - 5, x(end), y + 5) for end in (low, high)]
        drawn.append(_circle("quantile", x(value), y, 4.5))
    said = "; ".join(f"{name} {percent(v)}, from {percent(low)} to {percent(high)}" for name, v, low, high in known)
    return plot(f"{title}. {said or 'nothing yet'}.", _WIDTH, bottom + 14, *drawn)


def histogram(name: str, bins: Sequence[str], reference: Sequence[float], current: Sequence[float]) -> Html:
    """Two histograms over the same bins: the reference behind, what happens now before it.

    Args:
        name: Of the column.
        bins: Their names.
        reference: Shares.
        current: Shares.
    """
    known = [
        (str(label), float(then), float(now))
        for label, then, now in zip(bins, reference, current, strict=False)
        if is_number(then) and is_number(now)
    ]
    more = len(known) - MOST_BARS
    if more > 0:
        # The bins that differ most say most; their order stays.
        kept = sorted(sorted(range(len(known)), key=lambda place: -abs(known[place][2] - known[place][1]))[:MOST_BARS])
        known_drawn = [known[place] for place in kept]
    else:
        known_drawn = known
    width, height = 150.0, 44.0
    top = max((max(then, now) for _, then, now in known_drawn), default=0.0) or 1.0
    step = width / max(1, len(known_drawn))
    drawn = []
    for place, (_, then, now) in enumerate(known_drawn):
        x, gap = place * step, min(1.0, step * 0.1)
        first, second = height * min(1.0, max(0.0, then / top)), height * min(1.0, max(0.0, now / top))
        drawn.append(_bar("reference", x + gap, height - first, step - 2 * gap, first))
        drawn.append(_bar("current", x + step * 0.3, height - second, step * 0.4, second))
    most = sorted(known, key=lambda each: -abs(each[2] - each[1]))[:3]
    said = "; ".join(
        f"{shown(label, longest=40)} {percent(then)} then, {percent(now)} now" for label, then, now in most
    )
    title = f"{shown(name, longest=80)}, shares in the reference and now. Largest differences: {said or 'none'}."
    return plot(
        title, width, height + 1, *drawn, _line("axis", 0, height + 0.5, width, height + 0.5), class_="plot small"
    )


def _positive(value: Any) -> bool:
    return is_number(value) and value > 0


def _at(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _bar(class_: str, x: float, y: float, width: float, height: float) -> Html:
    if width <= 0 or height <= 0:
        return join(())
    return tag("rect", class_=class_, x=_at(x), y=_at(y), width=_at(width), height=_at(height))


def _line(class_: str, x1: float, y1: float, x2: float, y2: float) -> Html:
    return tag("line", class_=class_, x1=_at(x1), y1=_at(y1), x2=_at(x2), y2=_at(y2))


def _circle(class_: str, x: float, y: float, radius: float) -> Html:
    return tag("circle", class_=class_, cx=_at(x), cy=_at(y), r=_at(radius))


def _text(words: str, x: float, y: float, anchor: str = "start", class_: str = "tick") -> Html:
    return tag("text", shown(words, longest=14), class_=class_, x=_at(x), y=_at(y), text_anchor=anchor)
