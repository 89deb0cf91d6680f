"""``edgeml push``: a bundle to boxes over the network, several at once; or the order to fetch it from a registry."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import printable
from edgeml.cli.box import for_machines, short, tell
from edgeml.cli.peers import TokenBook, for_a_peer, patience_of, size_in_words, transfer_bars

if TYPE_CHECKING:
    from edgeml.bundles.blob_sources import FileSource, StoreSource
    from edgeml.bundles.oci_reference import Reference
    from edgeml.bundles.upload_notes import UploadNotes
    from edgeml.fleet.device_client import DeviceClient

AT_ONCE = 8
_LONGEST_PULL_SECONDS = 3600.0
_LONGEST_ACTIVATION_SECONDS = 900.0

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass
class Outcome:
    """What came of one box.

    Attributes:
        box: Its address.
        model: Name of the model; empty where it got nothing.
        digest: Of the bundle.
        bytes_sent: Over the link, with what was sent twice; None where nothing was sent from here, or not all of it.
        bytes_skipped: That it had.
        resumes: Interruptions that were got over.
        state: ``installed``, ``trial``, ``active``, ``superseded`` or ``rejected``; ``activating`` and ``pulling``
            where nobody waited; empty where it failed before.
        error: Why it failed; empty where it did not.
    """

    box: str
    model: str = ""
    digest: str = ""
    bytes_sent: int | None = None
    bytes_skipped: int | None = None
    resumes: int | None = None
    state: str = ""
    error: str = ""


@dataclass(frozen=True)
class Task:
    """What is to be done with each box.

    Attributes:
        source: The bundle; None where boxes fetch it themselves.
        reference: Where they fetch it from.
        activate: Whether it is put on trial afterwards.
        now: Whether the trial is left out.
        order: A signed order.
        wait: Whether to wait for the end of what goes on there.
        notes: Uploads that were begun.
    """

    source: FileSource | StoreSource | None
    reference: str
    activate: bool
    now: bool
    order: bytes | None
    wait: bool
    notes: UploadNotes


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="FILE URL...")
@click.option("--activate", "activating", is_flag=True, help="Put it on trial there afterwards.")
@click.option("--now", is_flag=True, help="With --activate: make it the active one at once, without a trial.")
@click.option("--order", "order_path", type=_FILE, help="With --activate: signed order, see 'edgeml order'.")
@click.option("--from-registry", "reference", metavar="REF", help="No FILE: the boxes fetch HOST/NAME:TAG themselves.")
@click.option("--from-store", "root", type=click.Path(path_type=Path), help="FILE is a bundle of this store instead.")
@click.option("--keyring", "keyring_path", type=_FILE, help="Send only what enough of these keys have signed.")
@click.option("--wait/--no-wait", default=True, help="Wait until it is on trial, or active. [default: wait]")
@for_a_peer
@for_machines
def push(
    words: tuple[str, ...],
    activating: bool,
    now: bool,
    order_path: Path | None,
    reference: str | None,
    root: Path | None,
    keyring_path: Path | None,
    wait: bool,
    token: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    attempts: int,
    as_json: bool,
) -> None:
    """Send the bundle FILE to the management planes of boxes, at https://HOST:PORT each (http for this machine).

    The file is verified first, every byte. Only blobs that a box lacks are sent, and a transfer that was cut off goes
    on where it stopped. Exit status 0 only if all boxes have done all of it.

    Each box has tokens of its own ('edgeml token create NAME --scope push,release'): give one for all with
    --token-file or in $EDGEML_TOKEN, or a file with lines HOST:PORT TOKEN.
    """
    from edgeml.fleet.device_client import DeviceClient, box_address

    if (now or order_path) and not activating:
        raise click.UsageError("--now and --order go with --activate")
    if reference is not None and (root is not None or keyring_path is not None):
        raise click.UsageError("--from-registry sends nothing: it goes without --from-store and --keyring")
    if reference is not None and activating and not wait:
        raise click.UsageError("--from-registry --activate needs --wait: somebody must ask for it after the pull")
    what, urls = (None, words) if reference is not None else (words[0], words[1:])
    if not urls:
        raise click.UsageError("say which boxes: https://HOST:PORT")
    if reference is not None and Path(urls[0]).is_file():
        raise click.UsageError(f"--from-registry takes no FILE, and {urls[0]} is one")
    boxes = list({each.origin: each for each in map(box_address, urls)}.values())
    tokens = TokenBook(token, token_file)
    patience = patience_of(attempts)
    with ExitStack() as closing:
        clients = [
            closing.enter_context(
                DeviceClient(
                    box, token=tokens.get(box), ca_file=ca_file, certificate=certificate, key=key, patience=patience
                )
            )
            for box in boxes
        ]
        source = None if what is None else closing.enter_context(_source(what, root, keyring_path))
        task = Task(source, _reference(reference), activating, now, _order(order_path), wait, _notes())
        outcomes = _all(boxes, clients, task)
    _report(outcomes, as_json)
    if any(outcome.error for outcome in outcomes):
        raise SystemExit(1)


def _source(what: str, root: Path | None, keyring_path: Path | None) -> Any:
    from edgeml.bundles import Keyring
    from edgeml.bundles.blob_sources import FileSource, StoreSource
    from edgeml.bundles.journal import Journal
    from edgeml.bundles.lookup import find_release
    from edgeml.bundles.manifest import MANIFEST_TYPE
    from edgeml.bundles.store import Store

    keyring = None if keyring_path is None else Keyring.read(keyring_path)
    if root is None:
        return FileSource(what, keyring=keyring)
    store = Store(root, journal=Journal(None))
    state = store.state()
    source = StoreSource(store, find_release(state, what), state=state)
    if keyring is not None:
        keyring.check(MANIFEST_TYPE, source.manifest_bytes, source.signatures)
    return source


def _notes() -> UploadNotes:
    """Notes of this user, so that a push that was killed is gone on with by the next one."""
    from edgeml.bundles.upload_notes import UploadNotes

    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    notes = UploadNotes(Path(cache) / "edgeml" / "uploads")
    notes.tidy()
    return notes


def _reference(text: str | None) -> str:
    from edgeml.bundles.store_pull import bundle_reference

    return "" if text is None else str(bundle_reference(text))


def _order(path: Path | None) -> bytes | None:
    from edgeml.bundles.files import read_file
    from edgeml.bundles.order import MAX_BYTES, Order

    if path is None:
        return None
    data = read_file(path, max_bytes=MAX_BYTES)
    Order.from_bytes(data)
    return data


def _all(boxes: list[Reference], clients: list[DeviceClient], task: Task) -> list[Outcome]:
    """Works on all boxes, some at a time."""
    stopped = threading.Event()
    with transfer_bars() as bars, ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        running = []
        for box, client in zip(boxes, clients, strict=True):
            bar = _Bar(bars, box.registry, stopped)
            running.append(pool.submit(partial(_one, box, client, task, bar)))
        try:
            return [each.result() for each in running]
        except BaseException:
            # Such as Ctrl-C: threads would go on until the last byte is sent.
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Bar:
    """One box's bar; where somebody has stopped the command, it stops the transfer."""

    def __init__(self, bars: Any, name: str, stopped: threading.Event) -> None:
        self._bars = bars
        self._name = name
        self._stopped = stopped
        self._task = bars.add_task(name, total=None)

    def sent(self, done: int, total: int) -> None:
        self._check()
        self._bars.update(self._task, completed=done, total=total)

    def step(self, word: str) -> None:
        self._check()
        self._bars.update(self._task, description=f"{self._name}  {word}")

    def _check(self) -> None:
        from edgeml.errors import TransferError

        if self._stopped.is_set():
            raise TransferError("stopped")


def _one(box: Reference, client: DeviceClient, task: Task, bar: _Bar) -> Outcome:
    """All that is to be done with one box; what it refuses is in the outcome."""
    from edgeml.errors import EdgemlError

    outcome = Outcome(box.origin)
    try:
        if task.source is not None:
            _send(client, task.source, task.notes, outcome, bar)
        else:
            _fetch(client, task, outcome, bar)
        if outcome.digest and task.activate:
            _activate(client, task, outcome, bar)
        bar.step(outcome.state)
    except (EdgemlError, OSError) as error:
        outcome.error = str(error)
        bar.step("failed")
    return outcome


def _send(
    client: DeviceClient, source: FileSource | StoreSource, notes: UploadNotes, outcome: Outcome, bar: _Bar
) -> None:
    from edgeml.bundles.registry_push import push as push_bundle

    bar.step("sending")
    report = push_bundle(client.registry, source, source.manifest.name, source.tag, progress=bar.sent, notes=notes)
    outcome.digest, outcome.model = report.digest, source.manifest.name
    outcome.bytes_sent, outcome.bytes_skipped = report.bytes_sent, report.bytes_skipped
    outcome.resumes = report.resumes
    _settle(client, outcome)


def _fetch(client: DeviceClient, task: Task, outcome: Outcome, bar: _Bar) -> None:
    if not task.wait:
        client.pull(task.reference)
        outcome.state = "pulling"
        return
    found = client.finish(lambda: client.pull(task.reference), seconds=_LONGEST_PULL_SECONDS, told=bar.step)
    outcome.digest = str(found.result.get("installed", ""))
    _settle(client, outcome)


def _activate(client: DeviceClient, task: Task, outcome: Outcome, bar: _Bar) -> None:
    from edgeml.errors import TransferError

    def begin() -> Any:
        return client.activate(outcome.model, outcome.digest, order=task.order, now=task.now)

    if not task.wait:
        begin()
        outcome.state = "activating"
        return
    try:
        client.finish(begin, seconds=_LONGEST_ACTIVATION_SECONDS, told=bar.step)
    except TransferError:
        with suppress(TransferError):
            _settle(client, outcome)
        raise
    _settle(client, outcome)


def _settle(client: DeviceClient, outcome: Outcome) -> None:
    """Asks the box what it makes of the bundle."""
    from edgeml.errors import TransferError

    found = client.release(outcome.digest)
    if found is None:
        raise TransferError(
            f"{client.at}: the bundle is there, and not installed: it waits until more of the keys that the box trusts "
            "have signed; push it again with their signatures"
        )
    outcome.model, release = found
    outcome.state = "active" if release["active"] else str(release.get("state"))


def _report(outcomes: list[Outcome], as_json: bool) -> None:
    from edgeml.cli.tables import row, show, table

    if as_json:
        tell({"boxes": [asdict(outcome) for outcome in outcomes]}, True)
        return
    shown = table("", "box", "digest", "sent", "there", "resumes", "state", right=("sent", "there", "resumes"))
    for each in outcomes:
        sizes = ("" if size is None else size_in_words(size) for size in (each.bytes_sent, each.bytes_skipped))
        resumes = "" if each.resumes is None else each.resumes
        state = f"failed ({each.state})" if each.error and each.state else "failed" if each.error else each.state
        row(shown, each.box, short(each.digest or None), *sizes, resumes, state, style="red" if each.error else None)
    show(shown)
    # Below the table, where they are never wrapped.
    failed = [each for each in outcomes if each.error]
    for each in failed:
        name = each.box.partition("://")[2]
        click.echo(f"{each.box}: {printable(each.error.removeprefix(f'{name}: '))}", err=True)
    if failed:
        click.echo(f"{len(failed)} of {len(outcomes)} boxes failed", err=True)
