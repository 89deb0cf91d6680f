"""``edgeml rules disable`` and ``enable``: rules of the bundle that answers on a box, until the next bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edgeml.cli import Refusal
from edgeml.cli.box import for_a_store, open_store, pick_model, tell, warn

_MODEL = click.option("--model", metavar="MODEL", help="Whose rule; needed where the box has several models.")
_REASON = click.option("--reason", default="", metavar="TEXT", help="Why, for the journal.")


@click.command()
@click.argument("rule")
@_MODEL
@_REASON
@for_a_store
def disable(rule: str, model: str | None, reason: str, root: Path, as_json: bool) -> None:
    """Let RULE answer no more: the rules after it are asked, and then the model.

    It lasts over restarts until another bundle answers. A service must run.
    """
    _switch(root, model, rule, reason, as_json, disabled=True)


@click.command()
@click.argument("rule")
@_MODEL
@_REASON
@for_a_store
def enable(rule: str, model: str | None, reason: str, root: Path, as_json: bool) -> None:
    """Let RULE answer again; the watch does not disable it a second time. A service must run."""
    _switch(root, model, rule, reason, as_json, disabled=False)


def _switch(root: Path, model: str | None, rule: str, reason: str, as_json: bool, *, disabled: bool) -> None:
    from edgeml.supervisor.channel import switch_rule

    name = pick_model(open_store(root).state(), model)
    said = switch_rule(root, name, rule, disabled=disabled, reason=reason)
    if said is None:
        raise Refusal("no service runs on this store, and it is the service that switches rules; start it first")
    if "rule" not in said:
        raise Refusal(str(said.get("error") or said.get("reason") or "the service did not understand"))
    word = "disabled until the next bundle" if disabled else "enabled"
    tell(said, as_json, f"{name}: rule {rule} is {word}")
    if not said["followed"]:
        warn("the worker has not followed yet; it does as soon as it can")
    if said["failure"]:
        warn(f"that could not be written down, and a restart of the service forgets it: {said['failure']}")
