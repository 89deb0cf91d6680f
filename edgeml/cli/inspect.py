"""Looking into a bundle: ``edgeml inspect``, ``edgeml card``.

Both read the file as a box would, digests and structure included. With ``--keyring`` the signatures are checked as
well; without, ``inspect`` says in so many words that nobody vouches for what it shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import printable

if TYPE_CHECKING:
    from rich.table import Table

    from edgeml.bundles import Bundle

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KEYRING = click.option("--keyring", "keyring_path", type=_FILE, help="Check the signatures against these keys.")
# Parts of the config that have a place of their own in the table, or are too long for it.
_SHOWN_APART = {"format", "name", "version", "task", "created", "requires", "schema", "outputs"}


@click.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON document for machines.")
@_KEYRING
def inspect(file: Path, as_json: bool, keyring_path: Path | None) -> None:
    """Show what is in a bundle."""
    bundle = _read(file, keyring_path)
    report = describe(bundle, file.stat().st_size)
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=True, allow_nan=False))
    else:
        _show(report)


@click.command()
@click.argument("file", type=_FILE)
@_KEYRING
def card(file: Path, keyring_path: Path | None) -> None:
    """Show a bundle's model card, as Markdown."""
    from edgeml.errors import BundleError

    bundle = _read(file, keyring_path)
    if "CARD.md" not in bundle.members:
        raise BundleError(f"{file} has no model card")
    click.echo(printable(bundle.members["CARD.md"].decode()))


def describe(bundle: Bundle, file_bytes: int) -> dict[str, Any]:
    """Everything that ``inspect`` knows, ready for JSON.

    Args:
        bundle: The bundle.
        file_bytes: Size of its file, in bytes.
    """
    return {
        "digest": bundle.digest,
        "name": bundle.name,
        "version": bundle.version,
        "file_bytes": file_bytes,
        "trusted": bundle.trusted,
        "signatures": [
            {"keyid": signature.keyid, "good": signature.keyid in bundle.signers if bundle.trusted else None}
            for signature in bundle.signatures
        ],
        "members": [
            {"name": name, "media_type": item.media_type, "bytes": item.size, "digest": item.digest}
            for name, item in bundle.manifest.members.items()
        ],
        "config": bundle.config,
    }


def _read(file: Path, keyring_path: Path | None) -> Bundle:
    from edgeml.bundles import Bundle, Keyring

    return Bundle.read(file, keyring=Keyring.read(keyring_path) if keyring_path else None)


def _show(report: Mapping[str, Any]) -> None:
    from rich.console import Console

    # A file or pipe has no width: wide enough for a digest on one line.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for table in (_facts(report), _members(report), _features(report["config"]["schema"])):
        if table.row_count:
            console.print(table)


def _facts(report: Mapping[str, Any]) -> Table:
    config = report["config"]
    table = _table(f"{report['name']} {report['version']}", "", "")
    rows = {"digest": report["digest"], "task": config["task"], "file": f"{report['file_bytes']:,} bytes"}
    if "created" in config:
        rows["created"] = config["created"]
    if not report["signatures"]:
        rows["signatures"] = "none"
    for number, signature in enumerate(report["signatures"]):
        state = {True: "good", False: "not trusted", None: "not checked"}[signature["good"]]
        rows["signatures" if not number else f"signature {number + 1}"] = f"{signature['keyid']} ({state})"
    rows["trusted"] = "yes, by the keyring" if report["trusted"] else "no keyring was given, so nobody vouches for this"
    parity = config.get("parity") or {}
    if "why" in parity:
        engine = "native kernel" if parity.get("engine") == "native" else "ONNX Runtime"
        rows["model runs in"] = f"{engine}: {printable(str(parity['why']))}"
    labels = config.get("outputs", {}).get("labels")
    if isinstance(labels, list) and labels:
        rows["labels"] = ", ".join(map(str, labels[:20])) + (f" ... ({len(labels)})" if len(labels) > 20 else "")
    rows["requires"] = _flat(config["requires"])
    rows |= {key: _flat(value) for key, value in sorted(config.items()) if key not in _SHOWN_APART and value}
    for key, value in rows.items():
        _row(table, key, value)
    return table


def _members(report: Mapping[str, Any]) -> Table:
    table = _table("members", "name", "bytes", "media type", "digest")
    for item in report["members"]:
        _row(table, item["name"], f"{item['bytes']:,}", item["media_type"], item["digest"][:19] + "...")
    return table


def _features(schema: Mapping[str, Any]) -> Table:
    table = _table("features", "name", "kind", "unit", "bounds or levels", "missing")
    features = schema.get("features")
    for feature in features if isinstance(features, list) else []:
        if isinstance(feature, dict):
            _row(
                table,
                *(feature.get(key, "") for key in ("name", "kind", "unit")),
                _bounds(feature),
                feature.get("missing", ""),
            )
    return table


def _bounds(feature: Mapping[str, Any]) -> str:
    levels = feature.get("levels")
    if isinstance(levels, list):
        return ", ".join(map(str, levels[:8])) + (f" ... ({len(levels)})" if len(levels) > 8 else "")
    low, high = feature.get("min"), feature.get("max")
    if low is None and high is None:
        return ""
    return f"{'' if low is None else low} .. {'' if high is None else high}"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 240 else text[:237] + "..."


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "bytes" else "left")
    return table


def _row(table: Table, *cells: Any) -> None:
    from rich.text import Text

    # Text, not markup: a bundle's words are shown, never obeyed.
    table.add_row(*(Text(printable(str(cell))) for cell in cells))
