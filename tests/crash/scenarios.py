"""Every transition of a store, each with the box it starts from. They run on a disk in memory and on a real one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bundles.releases import release
from data.generate_bundles import ALICE, BOB, ONE

from edgeml.bundles import Bundle, rotate, sign
from edgeml.bundles.archive import digest_of
from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.bundles.envelope import envelope_bytes
from edgeml.bundles.installation import StoreLimits
from edgeml.bundles.journal import Journal
from edgeml.bundles.order import Order
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import ConflictError, DigestError

# Nothing may depend on when a test runs.
NOW = 1_900_000_000.0


@dataclass(frozen=True)
class Box:
    """Where a store is.

    Attributes:
        root: Its folder.
        disk: Where that is.
        limits: What it may hold.
        silent: Whether the journal is kept in memory, where SQLite syncs nothing.
    """

    root: Path
    disk: Disk = SYSTEM
    limits: StoreLimits = StoreLimits()
    silent: bool = False

    def journal(self) -> Journal | None:
        return Journal(None) if self.silent or self.disk is not SYSTEM else None

    def open(self) -> Store:
        return Store(self.root, disk=self.disk, clock=lambda: NOW, limits=self.limits, journal=self.journal())

    def create(self) -> Store:
        return Store.create(
            self.root, keyring=ONE, disk=self.disk, clock=lambda: NOW, limits=self.limits, journal=self.journal()
        )


@dataclass(frozen=True)
class Scenario:
    """One transition.

    Attributes:
        name: For people.
        prepare: Brings a fresh store to where it starts.
        act: Carries the transition out.
        again: Whether it changes nothing when it is asked for again.
        single: Whether it is one change of the record and nothing else that could fail afterwards.
        urgent: Whether a full disk must not stop it.
        limits: What the box may hold.
    """

    name: str
    prepare: Callable[[Store], object]
    act: Callable[[Store], object]
    again: bool = True
    single: bool = True
    urgent: bool = False
    limits: StoreLimits = StoreLimits()


@cache
def bundle(version: str, epoch: int = 0, size: int = 0) -> Bundle:
    return release(version, epoch=epoch, size=size)


@cache
def digest(version: str, epoch: int = 0, size: int = 0) -> str:
    return bare(bundle(version, epoch, size).digest)


@cache
def countersigned() -> Bundle:
    return sign(bundle("2"), BOB)


@cache
def order(version: str, seq: int) -> Order:
    return Order("door", digest(version), seq).sign(ALICE)


SUCCESSOR = rotate(ONE, keys=[ALICE.public, BOB.public], signers=[ALICE])


def three(store: Store) -> None:
    """Version 2 answers, 1 is the previous one, 3 is installed and 4 too, with a higher security epoch."""
    for version in "123":
        store.install(bundle(version))
    store.install(bundle("4", 1))
    store.activate(digest("1"), now=True)
    store.activate(digest("2"), now=True)


def on_trial(store: Store) -> None:
    three(store)
    store.activate(digest("3"))


def on_trial_with_epoch(store: Store) -> None:
    three(store)
    store.activate(digest("4", 1))


def worn_out(store: Store) -> None:
    on_trial(store)
    for _ in range(3):
        store.load()


def denied(store: Store) -> None:
    on_trial(store)
    store.roll_back("door", reason="slow")


def died_twice(store: Store) -> None:
    three(store)
    store.died("SIGSEGV")
    store.died("SIGSEGV")


def one_alone(store: Store) -> None:
    """Version 1 answers, and there is nothing to go back to."""
    store.install(bundle("1"))
    store.activate(digest("1"), now=True)


def one_alone_died_twice(store: Store) -> None:
    one_alone(store)
    store.died("SIGSEGV")
    store.died("SIGSEGV")


def first_on_trial_worn_out(store: Store) -> None:
    store.install(bundle("1"))
    store.activate(digest("1"))
    for _ in range(3):
        store.load()


def last_resort(store: Store) -> None:
    one_alone_died_twice(store)
    store.died("SIGSEGV")


def last_resort_worn_out(store: Store) -> None:
    last_resort(store)
    for _ in range(3):
        store.load()


def tried(store: Store) -> None:
    on_trial(store)
    store.load()


def withdrawn(store: Store) -> None:
    three(store)
    store.activate(digest("3"), order=order("3", 7))
    store.withdraw("door", reason="sick")


def cluttered(store: Store) -> None:
    """Bundles to remove, a blob that nobody names, temporary files, and blobs that wait."""
    three(store)
    store.blobs.add(bare(digest_of(b"left over")), b"left over")
    store.incoming.put(bare(digest_of(b"waiting")), b"waiting")


def only_clutter(store: Store) -> None:
    cluttered(store)
    store.collect(keep=0)
    store.blobs.add(bare(digest_of(b"left over")), b"left over")


def waiting_bytes(found: Bundle) -> dict[str, bytes]:
    """Everything that a client sends for a bundle, by hex digest."""
    envelopes = [envelope_bytes(found.manifest_bytes, each) for each in found.signatures]
    parts = [*found.blobs.values(), *envelopes, found.manifest_bytes]
    return {bare(digest_of(data)): data for data in parts}


def push(store: Store, found: Bundle, *, skip: frozenset[str] = frozenset()) -> None:
    """Sends a bundle's blobs as a client does whose line was cut: the largest one in two goes."""
    everything = waiting_bytes(found)
    largest = max(everything, key=lambda each: len(everything[each]))
    for name, data in everything.items():
        if name in skip or store.blobs.size(name) is not None or store.incoming.size(name) is not None:
            continue
        if name != largest:
            store.incoming.put(name, data)
            continue
        store.incoming.start(name)
        half = len(data) // 2
        here = store.incoming.received(name)
        if here < half:
            here = store.incoming.append(name, [data[here:half]])
        if here < len(data):
            store.incoming.append(name, [data[here:]])
        try:
            store.incoming.finish(name, name)
        except DigestError:
            # A power cut tore what had come in before; the box says so, and the client sends it all.
            store.incoming.put(name, data)
    envelopes = [bare(digest_of(envelope_bytes(found.manifest_bytes, each))) for each in found.signatures]
    for each in envelopes:
        store.incoming.remember_signature(bare(found.digest), each)


def push_and_install(store: Store) -> None:
    push(store, bundle("5"))
    store.install_waiting(digest("5"), who="api")


def waiting(store: Store) -> None:
    three(store)
    push(store, bundle("5"))


def half_moved(store: Store) -> None:
    """An installation was cut off after some blobs had been moved in."""
    waiting(store)
    for name in list(store.incoming.waiting())[:2]:
        if name != digest("5"):
            store.blobs.take_in(store.incoming.folder / name)
    store.blobs.settle()


def create(store: Store) -> None:
    """The store is made by whoever runs the scenario."""


def send_keyring(store: Store) -> None:
    store.change_keyring(SUCCESSOR)


def gc(keep: int) -> Callable[[Store], object]:
    return lambda store: store.collect(keep=keep)


def needs_nothing(store: Store) -> None:
    """A fresh store."""


def twelve(store: Store) -> None:
    for version in range(1, 13):
        store.install(bundle(f"r{version}"))
        store.activate(digest(f"r{version}"), now=True)


def order_activate(store: Store) -> None:
    with suppress(ConflictError):
        store.activate(digest("3"), order=order("3", 7))


# So much that the bundles of ``three`` fit, and one more does only when old ones go.
LIMITS_WITHOUT_ROOM = replace(StoreLimits(), quota_bytes=10_000, incoming_bytes=20_000)

SCENARIOS = [
    Scenario("create", needs_nothing, create, again=False, single=False),
    Scenario("install", three, lambda store: store.install(bundle("5"))),
    Scenario("install, first", needs_nothing, lambda store: store.install(bundle("1"))),
    Scenario("install, countersigned", three, lambda store: store.install(countersigned())),
    Scenario(
        "install, quota spent",
        three,
        lambda store: store.install(bundle("5")),
        single=False,
        limits=LIMITS_WITHOUT_ROOM,
    ),
    Scenario("push and install", three, push_and_install),
    Scenario("install waiting", waiting, lambda store: store.install_waiting(digest("5"), who="api")),
    Scenario(
        "install half moved, quota spent",
        half_moved,
        lambda store: store.install_waiting(digest("5"), who="api"),
        single=False,
        limits=LIMITS_WITHOUT_ROOM,
    ),
    Scenario("activate, on trial", three, lambda store: store.activate(digest("3"))),
    Scenario("activate, now", three, lambda store: store.activate(digest("3"), now=True)),
    Scenario("activate, by order", three, order_activate),
    Scenario("load", on_trial, lambda store: store.load(), again=False, urgent=True),
    Scenario("load, attempts spent", worn_out, lambda store: store.load(), urgent=True),
    Scenario("confirm", on_trial_with_epoch, lambda store: store.confirm("door", digest("4", 1))),
    Scenario("withdraw", on_trial, lambda store: store.withdraw("door", reason="sick"), again=False, urgent=True),
    Scenario(
        "roll back, from trial", on_trial, lambda store: store.roll_back("door", reason="x"), again=False, urgent=True
    ),
    Scenario(
        "roll back, to previous", three, lambda store: store.roll_back("door", reason="x"), again=False, urgent=True
    ),
    Scenario(
        "roll back, to a named one",
        on_trial,
        lambda store: store.roll_back("door", digest("1"), reason="x"),
        urgent=True,
    ),
    Scenario("deny", three, lambda store: store.deny(digest("1"), reason="x")),
    Scenario("allow", denied, lambda store: store.allow(digest("3"))),
    Scenario("reject", three, lambda store: store.reject(digest("3"), reason="x", signal="golden"), urgent=True),
    Scenario("died", three, lambda store: store.died("SIGSEGV"), again=False, urgent=True),
    Scenario("died, third time", died_twice, lambda store: store.died("SIGSEGV"), again=False, urgent=True),
    Scenario(
        "died, nothing to go back to", one_alone_died_twice, lambda store: store.died("x"), again=False, urgent=True
    ),
    Scenario(
        "died, while another was loaded",
        tried,
        lambda store: store.died("x", culprit=digest("2"), tried=[digest("3")]),
        again=False,
        urgent=True,
    ),
    Scenario("load, first trial's attempts spent", first_on_trial_worn_out, lambda store: store.load(), again=False),
    Scenario("load, last resort", last_resort, lambda store: store.load(), again=False, urgent=True),
    Scenario("load, last resort worn out", last_resort_worn_out, lambda store: store.load(), urgent=True),
    Scenario(
        "abandon last resort",
        last_resort,
        lambda store: store.abandon_last_resort("door", digest("1"), reason="x", signal="load_failed"),
        urgent=True,
    ),
    Scenario("give back", tried, lambda store: store.give_back([digest("3")])),
    Scenario("activate, by the order of a withdrawn trial", withdrawn, order_activate),
    Scenario("healthy", died_twice, lambda store: store.healthy()),
    Scenario("collect", cluttered, gc(0), single=False, urgent=True),
    Scenario("collect, nothing in the record", only_clutter, gc(0), single=False, urgent=True),
    Scenario("change keyring", three, send_keyring),
    Scenario("settings", three, lambda store: store.settings(device="pi-2", require_order=True)),
]
NAMES = [each.name for each in SCENARIOS]


def scenario(name: str) -> Scenario:
    return next(each for each in SCENARIOS if each.name == name)
