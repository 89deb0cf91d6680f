"""``edgeml serve``: one bundle file, or what the store of a box says, on a local port or a Unix socket."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--store", type=click.Path(path_type=Path), help="Serve what this box's store says, under supervision.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--uds", type=click.Path(path_type=Path), help="Listen on a Unix socket instead.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@click.option("--threads", type=click.IntRange(1, 64), help="Requests worked on at once; default two for each core.")
@click.option("--max-body", type=click.IntRange(min=1), default=8 * 1024 * 1024, show_default=True, help="In bytes.")
@click.option("--max-rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Records in a request.")
@click.option("--trial", "trial", multiple=True, metavar="NAME=NUMBER", help="With --store: a limit of trials.")
def serve(
    file: Path | None,
    store: Path | None,
    host: str,
    port: int,
    uds: Path | None,
    keyring: Path | None,
    threads: int | None,
    max_body: int,
    max_rows: int,
    trial: tuple[str, ...],
) -> None:
    """Answer requests over HTTP for the bundle FILE, or with --store for the bundles that are active on this box.

    The bundle is verified, and its golden rows are asked again, before the service says that it listens. SIGTERM ends
    it once every request has its answer.
    """
    if (file is None) == (store is None):
        raise click.UsageError("give a bundle FILE, or --store DIR, and not both")
    if store is not None:
        if keyring is not None:
            raise click.UsageError("--keyring goes with FILE; a store has a keyring of its own, see 'edgeml trust'")
        listen = ["--uds", str(uds.absolute())] if uds is not None else ["--host", host, "--port", str(port)]
        threaded = [] if threads is None else ["--threads", str(threads)]
        bounds = ["--max-body", str(max_body), "--max-rows", str(max_rows)]
        raise SystemExit(_supervise(store, (*listen, *threaded, *bounds), _numbers(trial)))
    if trial:
        raise click.UsageError("--trial goes with --store")
    assert file is not None
    from edgeml.bundles import Bundle, Keyring
    from edgeml.serving import Limits, make_data_plane, tcp_listener, unix_listener
    from edgeml.serving import serve as serve_plane

    limits = Limits(body_bytes=max_body, rows=max_rows, **({} if threads is None else {"threads": threads}))
    plane = make_data_plane(Bundle.read(file, keyring=Keyring.read(keyring) if keyring else None), limits)
    listener = unix_listener(uds) if uds is not None else tcp_listener(host, port)
    engine = plane.engine()
    line = f"{engine.name} {engine.version} ({engine.digest}) listens on {listener.address}"
    raise SystemExit(serve_plane(plane, listener, ready=lambda: click.echo(line)))


def _supervise(root: Path, arguments: tuple[str, ...], trial: dict[str, float]) -> int:
    from edgeml.bundles.store import Store
    from edgeml.supervisor.reference import reference_labels
    from edgeml.supervisor.supervisor import Supervisor
    from edgeml.supervisor.trial_config import TrialConfig
    from edgeml.supervisor.trials import Trials
    from edgeml.supervisor.worker_state import WorkerOptions

    try:
        config = TrialConfig.from_mapping(trial)
    except ValueError as error:
        raise click.UsageError(f"--{error}") from error
    root = root.absolute()
    store = Store(root)
    trials = Trials(root / "trials.json", config, reference_labels(store))
    supervisor = Supervisor(store, trials, options=WorkerOptions(arguments=arguments, stall_s=config.stall_seconds))
    return supervisor.run(ready=lambda address: click.echo(f"{root} listens on {address}"))


def _numbers(given: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in given:
        name, _, text = each.partition("=")
        try:
            found[name] = int(text) if text.isdigit() else float(text)
        except ValueError:
            raise click.UsageError(f"--trial {each}: expected NAME=NUMBER, such as min_seconds=60") from None
    return found
