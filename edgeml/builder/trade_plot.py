"""The trade of a bundle's tiers as a picture: answers before the full model against accuracy and mean cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from edgeml.errors import BuildError
from edgeml.runtime.trade import Point

FORMATS = (".svg", ".png")


def plot_trade(points: Sequence[Point], chosen: Point | None, path: Path, title: str) -> None:
    """Writes the picture.

    Args:
        points: The curve.
        chosen: The point that was picked, as the other half shows it; None where none was.
        path: ``.svg`` or ``.png``.
        title: Stands above it.

    Raises:
        BuildError: The ending is another.
    """
    if path.suffix.lower() not in FORMATS:
        raise BuildError(f"{path}: a plot is written as .svg or .png")
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for cut in sorted({point.cut for point in points}):
        line = sorted((point for point in points if point.cut == cut), key=lambda point: point.before)
        before = [100 * point.before for point in line]
        name = f"{line[0].rules} rules" + (f" (proven {cut:.3f})" if 0 < cut <= 1 else "")
        upper.plot(before, [100 * point.kept for point in line], marker=".", linewidth=1, label=name)
        lower.plot(before, [point.cost_us for point in line], marker=".", linewidth=1)
    if chosen is not None:
        upper.plot([100 * chosen.before], [100 * chosen.kept], "k*", markersize=12, label="chosen, on the other half")
        lower.plot([100 * chosen.before], [chosen.cost_us], "k*", markersize=12)
    upper.axhline(100.0, color="grey", linewidth=0.8, linestyle=":")
    upper.set_ylabel("accuracy kept, % of the model's")
    upper.set_title(title)
    upper.legend(fontsize=8)
    lower.set_ylabel("mean cost of an answer, us")
    lower.set_xlabel("answered before the full model, % of the records")
    # Without a date and with fixed names inside, the same figures give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "edgeml"}):
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
