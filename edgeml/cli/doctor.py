"""``edgeml doctor``: what on this box could endanger a promise, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml.cli.box import become_owner, for_a_store, tell

if TYPE_CHECKING:
    from edgeml.supervisor.finding import Finding

_STYLES = {"ok": None, "warning": "yellow", "danger": "bold red"}


@click.command()
@click.option("--deep", is_flag=True, help="Read every byte of every bundle.")
@for_a_store
def doctor(deep: bool, root: Path, as_json: bool) -> None:
    """Look at the store and the box: disk, mount, clock, memory, permissions, trust, service.

    Exit status 1 where something endangers a promise; warnings alone give 0.
    """
    from edgeml.supervisor.checkup import check_up

    become_owner(root)
    findings = check_up(root, deep=deep)
    dangers = sum(each.level == "danger" for each in findings)
    if as_json:
        tell({"sound": not dangers, "findings": [each.document() for each in findings]}, True)
    else:
        _show(findings)
        warnings = sum(each.level == "warning" for each in findings)
        click.echo(f"{dangers} dangers, {warnings} warnings, {len(findings) - dangers - warnings} ok")
    if dangers:
        raise SystemExit(1)


def _show(findings: list[Finding]) -> None:
    from edgeml.cli.tables import row, show, table

    shown = table("", "", "check", "found", "what it means, and what to do")
    for level in ("danger", "warning", "ok"):
        for each in findings:
            if each.level == level:
                words = "\n".join(part for part in (each.meaning, each.remedy and f"-> {each.remedy}") if part)
                row(shown, level, each.check, each.found, words, style=_STYLES[level])
    show(shown)
