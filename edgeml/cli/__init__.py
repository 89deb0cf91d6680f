"""The ``edgeml`` command.

1. ``COMMANDS`` names every command, the file that holds it, and its line in ``edgeml --help``. A file is imported
   when its command is asked for, so ``edgeml --help`` and ``edgeml verify`` never pay for the builder or the
   server.
2. A new command is one line here and one function of the same name in its file, decorated with ``@click.command``. It
   imports its room inside the function.
3. Exit status: 0 done; 1 refused or failed (an ``EdgemlError``, or the disk); 2 wrong usage. This is the only place
   where an error becomes a message and a status; commands let them pass.
"""

from __future__ import annotations

import errno
import importlib
from dataclasses import dataclass
from typing import Any

import click

from edgeml.errors import EdgemlError


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command lives.

    Attributes:
        module: Module that defines a click command of the same name.
        line: What ``edgeml --help`` says of it; empty for what people do not call.
    """

    module: str
    line: str


COMMANDS = {
    "build": Lazy("edgeml.cli.build", "Make a bundle from a training script."),
    "serve": Lazy("edgeml.cli.serve", "Answer requests on localhost."),
    "worker": Lazy("edgeml.cli.worker", ""),
    "predict": Lazy("edgeml.cli.predict", "Answer the records of a file."),
    "rules": Lazy("edgeml.cli.rules", "Check, learn, explain and test rules; disable those of a box."),
    "check": Lazy("edgeml.cli.check", "Look at a file with a bundle: schema, findings, drift."),
    "tiers": Lazy("edgeml.cli.tiers", "Trade answers before the full model against accuracy and cost."),
    "bench": Lazy("edgeml.cli.bench", "Measure a bundle or a service on this box, and judge its objectives."),
    "inspect": Lazy("edgeml.cli.inspect", "Show what is in a bundle."),
    "card": Lazy("edgeml.cli.inspect", "Show a bundle's model card."),
    "keygen": Lazy("edgeml.cli.keys", "Make a key pair and a keyring that trusts it."),
    "sign": Lazy("edgeml.cli.keys", "Add a signature to a bundle."),
    "verify": Lazy("edgeml.cli.keys", "Check a bundle against a keyring."),
    "keyring": Lazy("edgeml.cli.keys", "Make a keyring of several keys, or the successor of one."),
    "init": Lazy("edgeml.cli.store", "Make the store of a box."),
    "install": Lazy("edgeml.cli.store", "Verify bundle files and copy them into the store."),
    "pull": Lazy("edgeml.cli.pull", "Fetch a bundle from a registry or a file, and install it."),
    "push": Lazy("edgeml.cli.push", "Send a bundle to boxes, several at once."),
    "activate": Lazy("edgeml.cli.releases", "Let an installed bundle answer, on trial first."),
    "confirm": Lazy("edgeml.cli.releases", "Make the bundle on trial the active one."),
    "rollback": Lazy("edgeml.cli.releases", "Go back to the bundle before."),
    "deny": Lazy("edgeml.cli.releases", "Forbid a bundle, or lift its denial."),
    "status": Lazy("edgeml.cli.status", "Show what answers on this box."),
    "drift": Lazy("edgeml.cli.drift", "Show how the data and the answers differ from the reference."),
    "quality": Lazy("edgeml.cli.quality", "Show how good the answers are: estimated, and by labels."),
    "releases": Lazy("edgeml.cli.status", "List the installed bundles."),
    "history": Lazy("edgeml.cli.status", "Show what happened on this box, and why."),
    "doctor": Lazy("edgeml.cli.doctor", "Look for what could endanger a promise."),
    "gc": Lazy("edgeml.cli.store", "Remove old bundles and blobs that nothing needs."),
    "settings": Lazy("edgeml.cli.settings", "Show or change what the operator decides."),
    "capture": Lazy("edgeml.cli.capture", "Export or clear the records that were captured."),
    "trust": Lazy("edgeml.cli.trust", "Give the box the successor of its keyring."),
    "order": Lazy("edgeml.cli.trust", "Make or show a signed order."),
    "token": Lazy("edgeml.cli.tokens", "Make, list or revoke tokens for the management plane."),
}


class Refusal(click.ClickException):
    """An error on its way to the terminal: one red line on standard error, exit status 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Prints the message."""
        click.echo(f"{click.style('error:', fg='red', bold=True)} {printable(self.message)}", file=file, err=True)


class LazyGroup(click.Group):
    """A group that imports a command's file when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        command = getattr(importlib.import_module(lazy.module), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.line) for name, lazy in COMMANDS.items() if lazy.line])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; what it refuses becomes a message and an exit status."""
        try:
            return super().invoke(ctx)
        except EdgemlError as error:
            raise Refusal(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone: click ends quietly
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise Refusal(f"{where}{error.strerror or error}") from error


# Said on standard error by what answers with a bundle that nobody vouches for.
NOT_CHECKED = "signatures not checked: no --keyring"


def printable(text: str) -> str:
    """A text without control characters, so that a hostile file cannot drive the terminal.

    Args:
        text: Anything, perhaps out of a bundle.
    """
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="edgeml", prog_name="edgeml")
def main() -> None:
    """Keeps a machine-learning model running on an edge box."""
