"""Tokens for the management plane: ``edgeml token create``, ``list``, ``revoke``.

A token is the right to ask. A stolen one can push and activate only what is validly signed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml.cli.box import for_a_store, open_store, tell

if TYPE_CHECKING:
    from edgeml.supervisor.tokens import Tokens


@click.group()
def token() -> None:
    """Make, list or revoke tokens for the management plane."""


@token.command()
@click.argument("name")
@click.option("--scope", "scopes", default="read", show_default=True, help="Of read, push, release; commas between.")
@for_a_store
def create(name: str, scopes: str, root: Path, as_json: bool) -> None:
    """Make a token called NAME. It is shown once, on standard output, and kept nowhere."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    secret = _tokens(root).create(name, wanted)
    if not as_json:
        click.echo(f"token {name}; it is shown this once:", err=True)
    tell({"name": name, "token": secret}, as_json, secret)


@token.command(name="list")
@for_a_store
def list_tokens(root: Path, as_json: bool) -> None:
    """List the tokens; what they are is known to nobody but who has them."""
    from edgeml.cli.tables import moment, row, show, table

    found = _tokens(root).list()
    if as_json:
        tell({"tokens": [{"name": e.name, "scopes": list(e.scopes), "created": e.created} for e in found]}, True)
        return
    shown = table("", "name", "scopes", "made")
    for each in found:
        row(shown, each.name, ", ".join(each.scopes), moment(each.created))
    show(shown)
    if not found:
        click.echo("there are no tokens")


@token.command()
@click.argument("name")
@for_a_store
def revoke(name: str, root: Path, as_json: bool) -> None:
    """Make the token called NAME worthless, from the next request on."""
    _tokens(root).revoke(name)
    tell({"revoked": name}, as_json, f"token {name} is revoked")


def _tokens(root: Path) -> Tokens:
    from edgeml.supervisor.tokens import Tokens

    return Tokens(open_store(root).root)
