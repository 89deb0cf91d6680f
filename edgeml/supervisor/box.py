"""A box as a whole: the supervisor of its store, and the management plane beside it in one process.

The management plane starts first and ends last: bundles can be pushed, and gone back from, while a worker is being
started, hangs, or has died.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeml.bundles.box_settings import BoxSettings
from edgeml.bundles.store import Store
from edgeml.errors import StoreError
from edgeml.supervisor.callers import Callers
from edgeml.supervisor.management import Management, Tls, serve_management
from edgeml.supervisor.management_app import make_management_app
from edgeml.supervisor.quarantine import Admission, Budget, admit
from edgeml.supervisor.reference import reference_labels
from edgeml.supervisor.releases import Releases
from edgeml.supervisor.supervisor import Supervisor
from edgeml.supervisor.tokens import Tokens
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trials import Trials
from edgeml.supervisor.watch_settings import watch_settings
from edgeml.supervisor.watching import Watching
from edgeml.supervisor.worker_state import WorkerOptions

# What a client may do whose certificate one of the operator's own authorities has signed.
CERTIFICATE_SCOPES = ("read", "push", "release")


@dataclass(frozen=True)
class BoxOptions:
    """How a box is run.

    Attributes:
        worker: How its worker is run.
        trial: The numbers by which trials are judged.
        manage_host: Address of the management plane; empty for none.
        manage_port: Its port; 0 takes a free one.
        tls: Its certificates; None speaks plain HTTP.
    """

    worker: WorkerOptions = field(default_factory=WorkerOptions)
    trial: TrialConfig = field(default_factory=TrialConfig)
    manage_host: str = "127.0.0.1"
    manage_port: int = 8081
    tls: Tls | None = None


def admission_of(store: Store) -> Callable[[str], Admission]:
    """Tries installed bundles, by hex digest, each in a process of its own.

    Args:
        store: Where they are installed, and what its operator grants.
    """

    def tried(digest: str) -> Admission:
        budget = Budget.of(BoxSettings.read(store.root))
        return admit({"store": str(store.root), "digest": f"sha256:{digest}"}, keyring_path=None, budget=budget)

    return tried


def _granted_bytes(store: Store) -> int:
    try:
        return BoxSettings.read(store.root).admission_memory_bytes
    except (StoreError, OSError):
        # Settings that cannot be read stop admission, and must not stop what answers.
        return BoxSettings().admission_memory_bytes


def run_box(root: Path, options: BoxOptions, *, ready: Callable[[str, str], None]) -> int:
    """Runs a box until SIGTERM or SIGINT.

    Args:
        root: Folder of the store.
        options: How.
        ready: Called once requests are answered, with the addresses of data plane and management plane (empty where
            there is none).

    Returns:
        0 where everybody was answered, 1 otherwise.

    Raises:
        StoreError: There is no store, or another supervisor owns it.
        OSError: An address is taken, or a certificate cannot be read.
    """
    store = Store(root.absolute())
    trials = Trials(
        store.root / "trials.json",
        options.trial,
        reference_labels(store),
        unmeasured_bytes=lambda: _granted_bytes(store),
    )
    watching = Watching(
        store, lambda: watch_settings(store.root), say=lambda line: print(line, file=sys.stderr, flush=True)
    )
    supervisor = Supervisor(store, trials, watching=watching, options=options.worker)
    management = _management(store, supervisor, options)
    address = ""
    if management is not None:
        host = f"[{management.host}]" if ":" in management.host else management.host
        address = f"{'https' if options.tls else 'http'}://{host}:{management.port}"
    try:
        return supervisor.run(ready=lambda data: ready(data, address))
    finally:
        if management is not None:
            management.stop()


def _puller(store: Store) -> Callable[[str, Callable[[str], None]], str]:
    def pull(reference: str, told: Callable[[str], None]) -> str:
        # A box that is pushed to never needs a client of its own.
        from edgeml.bundles.store_pull import pull_reference

        return pull_reference(store, reference, told, who="api")

    return pull


def _management(store: Store, supervisor: Supervisor, options: BoxOptions) -> Management | None:
    if not options.manage_host:
        return None
    releases = Releases(
        store,
        admit=admission_of(store),
        changed=lambda _: supervisor.follow(),
        live=supervisor.live,
        pull=_puller(store),
    )
    scopes = CERTIFICATE_SCOPES if options.tls is not None and options.tls.client_ca is not None else ()
    callers = Callers(Tokens(store.root), certificate_scopes=scopes)
    app = make_management_app(store, releases, callers, watching=supervisor.watching)
    return serve_management(app, options.manage_host, options.manage_port, tls=options.tls)
