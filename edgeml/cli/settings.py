"""``edgeml settings``: what the operator of a box decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeml.cli.box import for_a_store, open_store, short, tell, warn, warn_of_journal
from edgeml.cli.peers import size_in_words
from edgeml.cli.sizes import Size
from edgeml.cli.store import settings_document

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml.bundles.box_settings import BoxSettings
    from edgeml.bundles.store import Store

# Option -> the setting of the box that it changes.
_SETTINGS = {
    "admission_memory": "admission_memory_bytes",
    "admission_cpu_seconds": "admission_cpu_seconds",
    "admission_wall_seconds": "admission_wall_seconds",
    "admission_load_seconds": "admission_load_seconds",
    "pull_budget_per_day": "pull_bytes_per_day",
    "capture": "capture_share",
    "capture_boost": "capture_boost",
    "capture_rows": "capture_rows",
    "capture_size": "capture_bytes",
    "capture_size_per_day": "capture_bytes_per_day",
    "false_alarm_days": "false_alarm_days",
    "drift_min_effect": "drift_min_effect",
    "audit": "audit_share",
    "audit_cpu": "audit_cpu_share",
    "audit_tolerance": "audit_tolerance",
    "disable_rules": "disable_rules",
}
_REGISTRY = "Let the management plane name this registry, and no other that is not listed."


@click.command()
@click.option("--device", metavar="NAME", help="This box's name in orders.")
@click.option("--require-order/--no-require-order", default=None, help="Ask for an order when the network activates.")
@click.option("--allow-unsigned/--no-allow-unsigned", default=None, help="Run bundles that nobody has signed.")
@click.option("--admission-memory", type=Size(), metavar="SIZE", help="Memory a bundle may take while it is tried.")
@click.option("--admission-cpu-seconds", type=int, metavar="N", help="Processor time while it is tried.")
@click.option("--admission-wall-seconds", type=float, metavar="N", help="Time on the wall while it is tried.")
@click.option("--admission-load-seconds", type=float, metavar="N", help="Time until its model can be asked.")
@click.option("--pull-budget-per-day", type=Size(), metavar="SIZE", help="Pull no more a day, whoever asks.")
@click.option("--no-pull-budget", is_flag=True, help="Pull as much as is asked for.")
@click.option("--pull-registry", multiple=True, metavar="HOST:PORT", help=_REGISTRY)
@click.option("--no-pull-registry", multiple=True, metavar="HOST:PORT", help="Take a registry off the list.")
@click.option("--capture", type=float, metavar="SHARE", help="Keep this share of what is asked, 0.01 for 1 %; 0: none.")
@click.option("--capture-boost", type=float, metavar="N", help="Keep hard records so many times as often.")
@click.option("--capture-rows", type=int, metavar="N", help="Keep the newest N records.")
@click.option("--capture-size", type=Size(), metavar="SIZE", help="Keep so much of them.")
@click.option("--capture-size-per-day", type=Size(), metavar="SIZE", help="Write no more to the disk a day.")
@click.option("--capture-exclude", multiple=True, metavar="FIELD", help="Never keep this field.")
@click.option("--capture-hash", multiple=True, metavar="FIELD", help="Keep only a keyed hash of this field.")
@click.option("--capture-open", multiple=True, metavar="FIELD", help="Keep this field as it is, again.")
@click.option("--false-alarm-days", type=float, metavar="N", help="Raise at most one false alarm of drift in N days.")
@click.option("--drift-min-effect", type=float, metavar="X", help="Raise none for drift below this PSI.")
@click.option("--audit", type=float, metavar="SHARE", help="Ask the model about this share of rules' answers; 0: none.")
@click.option("--audit-cpu", type=float, metavar="SHARE", help="Take at most this share of one core for that.")
@click.option("--audit-tolerance", type=float, metavar="X", help="Numbers that are this close agree.")
@click.option("--no-audit-tolerance", is_flag=True, help="Numbers agree as each bundle's model is usually off.")
@click.option(
    "--disable-rules", type=click.Choice(["report", "disable"]), help="What is done with a rule that is wrong."
)
@click.option("--defaults", is_flag=True, help="What is not named, from admission on: as on a new box.")
@for_a_store
def settings(
    device: str | None,
    require_order: bool | None,
    allow_unsigned: bool | None,
    no_pull_budget: bool,
    no_audit_tolerance: bool,
    pull_registry: tuple[str, ...],
    no_pull_registry: tuple[str, ...],
    capture_exclude: tuple[str, ...],
    capture_hash: tuple[str, ...],
    capture_open: tuple[str, ...],
    defaults: bool,
    root: Path,
    as_json: bool,
    **named: Any,
) -> None:
    """Show what the operator has decided, or change it.

    What is said of admission and pulls counts for every command and for a running service, from the next bundle on;
    what is said of capture and audits, within a few seconds.
    """
    from edgeml.bundles.box_settings import BoxSettings, change_settings

    if no_pull_budget and named["pull_budget_per_day"] is not None:
        raise click.UsageError("give --pull-budget-per-day SIZE or --no-pull-budget, not both")
    changes: dict[str, Any] = {_SETTINGS[name]: value for name, value in named.items() if value is not None}
    if no_pull_budget:
        changes["pull_bytes_per_day"] = None
    if no_audit_tolerance and named["audit_tolerance"] is not None:
        raise click.UsageError("give --audit-tolerance X or --no-audit-tolerance, not both")
    if no_audit_tolerance:
        changes["audit_tolerance"] = None
    lists: dict[str, Any] = {
        "listed": pull_registry,
        "unlisted": no_pull_registry,
        "excluded": capture_exclude,
        "hashed": capture_hash,
        "open_fields": capture_open,
    }
    store = open_store(root)
    try:
        granted = (
            change_settings(store, changes, **lists, anew=defaults, who="cli")
            if changes or any(lists.values()) or defaults
            else BoxSettings.read(root)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if (device, require_order, allow_unsigned) == (None, None, None):
        state = store.state()
    else:
        state = store.settings(device=device, require_order=require_order, allow_unsigned=allow_unsigned)
    budget = granted.pull_bytes_per_day
    lines = (
        f"device          {state.device or '(none)'}",
        f"orders          {'required' if state.require_order else 'not required'} when the network activates",
        f"signatures      {'not needed: unsigned bundles are taken' if state.allow_unsigned else 'needed'}",
        f"keyring         {short(state.keyring) or '(none)'}",
        f"admission       {granted.admission_memory_bytes / 1024**2:g} MiB of memory, "
        f"{granted.admission_cpu_seconds} s of processor time, {granted.admission_wall_seconds:g} s on the wall, "
        f"{granted.admission_load_seconds:g} s to load",
        f"pull budget     {'none' if budget is None else size_in_words(budget) + ' a day'}",
        f"pull registries {', '.join(granted.pull_registries) or 'any but this machine and its link'}",
        *capture_lines(granted),
        f"drift alarms    at most one false one in {granted.false_alarm_days:g} days, none below a PSI of "
        f"{granted.drift_min_effect:g}",
        *audit_lines(granted),
    )
    tell(settings_document(state) | granted.to_dict(), as_json, *lines)
    if granted.capture_share and (unknown := unknown_fields(store, granted)):
        warn(f"no active bundle has a field {', '.join(map(repr, unknown))}; is it spelled as in the schema?")
    if capture_exclude or capture_hash:
        _warn_of_earlier(root)
    warn_of_journal(store)


def capture_lines(granted: BoxSettings) -> tuple[str, ...]:
    """What the operator has decided of capture, for people."""
    if not granted.capture_share:
        how = "off"
    else:
        how = (
            f"{granted.capture_share:.3%} of the records, hard ones {granted.capture_boost:g} times as often; the "
            f"newest {granted.capture_rows:,} or {size_in_words(granted.capture_bytes)}, "
            f"{size_in_words(granted.capture_bytes_per_day)} a day"
        )
    private = [f"{name} excluded" for name in granted.capture_exclude]
    private += [f"{name} hashed" for name in granted.capture_hash]
    return (f"capture         {how}", *([f"private fields  {', '.join(private)}"] if private else []))


def audit_lines(granted: BoxSettings) -> tuple[str, str]:
    """What the operator has decided of audits and of rules that are wrong, for people."""
    how = "off"
    if granted.audit_share:
        how = f"{granted.audit_share:.3%} of the answers of rules, at most {granted.audit_cpu_share:.1%} of a core"
        if granted.audit_tolerance is not None:
            how += f"; numbers agree within {granted.audit_tolerance:g}"
    wrong = "reported" if granted.disable_rules == "report" else "disabled until the next bundle"
    return f"audits          {how}", f"wrong rules     {wrong}"


def unknown_fields(store: Store, granted: BoxSettings) -> list[str]:
    """Private fields that no bundle has that may answer: most likely a slip of the pen, and a field that is kept."""
    from edgeml.bundles.documents import parse_object
    from edgeml.bundles.state import bare
    from edgeml.errors import EdgemlError

    asked = [*granted.capture_exclude, *granted.capture_hash]
    known: set[str] = set()
    digests = {digest for model in store.state().models.values() for digest in (model.active, model.candidate)}
    for digest in digests - {None}:
        try:
            manifest = store.manifest(str(digest))
            config = parse_object(store.blobs.read(bare(manifest.config.digest), manifest.config.size), "config")
            known |= {str(each["name"]) for each in config["schema"].get("features", ())}
        except (EdgemlError, OSError, KeyError, TypeError):
            return []  # who cannot be asked may have the field
    return [name for name in asked if name not in known] if digests - {None} else []


def _warn_of_earlier(root: Path) -> None:
    import sqlite3
    from contextlib import suppress

    from edgeml.monitor.capture_file import CaptureFile

    with suppress(sqlite3.Error):
        rows = CaptureFile(root / "capture.db").held(day=0).rows
        if rows:
            warn(
                f"{rows:,} records were captured before, with the fields as they were; 'edgeml capture clear --yes' "
                "removes them"
            )
