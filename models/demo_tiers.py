"""What the tiers of a bundle trade, and why it gave three of its answers: a part of ``make demo``."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from edgeml.runtime.load import predictor_of

# May be lost of accuracy by answering before the full model.
BUDGET = "0.01"
LABEL = "known label"


def show_tiers(
    console: Console,
    step: Callable[[str, str], None],
    run: Callable[..., None],
    *,
    out: Path,
    model: str,
    bundle: Any,
    records: Sequence[Mapping[str, Any]],
    truth: Sequence[Any],
) -> None:
    """Prints the tier report, and an explained answer of each tier.

    Args:
        console: Where to print.
        step: Prints a heading.
        run: Runs an ``edgeml`` command.
        out: Folder for files.
        model: Name of the bundle's file.
        bundle: The bundle.
        records: Records that neither model nor rules have seen.
        truth: What was true of each.
    """
    path, labelled = out / f"{model}.edgeml", out / "labelled.ndjson"
    lines = [json.dumps({**record, LABEL: true}) for record, true in zip(records, truth, strict=True)]
    labelled.write_text("\n".join(lines) + "\n")
    plot = out / "tiers.svg"
    step("Tiers", f"edgeml tiers --bundle demo-out/{path.name} --data demo-out/{labelled.name} --label '{LABEL}' ...")
    keyring = ("--keyring", str(out / "keyring.json"))
    words = ("--bundle", str(path), "--data", str(labelled), "--label", LABEL, *keyring)
    run("tiers", *words, "--accuracy-budget", BUDGET, "--plot", str(plot))
    console.print(f"The curve is drawn in demo-out/{plot.name}")

    asked = out / "explained.ndjson"
    asked.write_text("\n".join(map(json.dumps, _of_each_tier(bundle, records))) + "\n")
    step("Why", f"edgeml predict demo-out/{path.name} demo-out/{asked.name} --explain")
    run("predict", str(path), str(asked), "--explain", *keyring)


def _of_each_tier(bundle: Any, records: Sequence[Mapping[str, Any]], wanted: int = 3) -> list[Mapping[str, Any]]:
    """A short record for each tier that answers some, filled up with further ones."""
    predictor = predictor_of(bundle)
    found: dict[str, Mapping[str, Any]] = {}
    ordered = sorted(records, key=lambda record: len(json.dumps(record)))
    answers = predictor.predict_many(list(ordered))
    for record, answer in zip(ordered, answers, strict=True):
        found.setdefault(answer.tier, record)
    others = [record for record in ordered if record not in found.values()]
    return [*found.values(), *others][:wanted]
