"""``edgeml serve``: one bundle file, or what the store of a box says, on a local port or a Unix socket."""

from __future__ import annotations

from pathlib import Path

import click

from edgeml.cli import NOT_CHECKED


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
@click.option("--manage-host", default="127.0.0.1", show_default=True, help="With --store: management address.")
@click.option("--manage-port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="With --store.")
@click.option("--no-manage", is_flag=True, help="With --store: no management plane; commands on the box still work.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM certificate of the management plane.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="Whose client certificates may connect there.")
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
    manage_host: str,
    manage_port: int,
    no_manage: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
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
        if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
            raise click.UsageError("TLS needs --tls-cert and --tls-key; --tls-client-ca comes beside them")
        tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key, tls_client_ca)
        where = ("" if no_manage else manage_host, manage_port)
        raise SystemExit(_supervise(store, (*listen, *threaded, *bounds), _numbers(trial), where, tls))
    if trial or tls_cert or tls_key or tls_client_ca or no_manage:
        raise click.UsageError("--trial, --no-manage and --tls-... go with --store")
    assert file is not None
    from edgeml.bundles import Bundle, Keyring
    from edgeml.serving import Limits, make_data_plane, tcp_listener, unix_listener
    from edgeml.serving import serve as serve_plane

    limits = Limits(body_bytes=max_body, rows=max_rows, **({} if threads is None else {"threads": threads}))
    if keyring is None:
        click.echo(NOT_CHECKED, err=True)
    plane = make_data_plane(Bundle.read(file, keyring=Keyring.read(keyring) if keyring else None), limits)
    listener = unix_listener(uds) if uds is not None else tcp_listener(host, port)
    engine = plane.engine()
    line = f"{engine.name} {engine.version} ({engine.digest}) listens on {listener.address}"
    raise SystemExit(serve_plane(plane, listener, ready=lambda: click.echo(line)))


def _supervise(
    root: Path,
    arguments: tuple[str, ...],
    trial: dict[str, float],
    manage: tuple[str, int],
    tls: tuple[Path, Path, Path | None] | None,
) -> int:
    from edgeml.supervisor.box import BoxOptions, run_box
    from edgeml.supervisor.management import Tls
    from edgeml.supervisor.trial_config import TrialConfig
    from edgeml.supervisor.worker_state import WorkerOptions

    try:
        config = TrialConfig.from_mapping(trial)
    except ValueError as error:
        raise click.UsageError(f"--{error}") from error
    options = BoxOptions(
        worker=WorkerOptions(arguments=arguments, stall_s=config.stall_seconds),
        trial=config,
        manage_host=manage[0],
        manage_port=manage[1],
        tls=None if tls is None else Tls(*tls),
    )

    def ready(data: str, management: str) -> None:
        click.echo(f"{root} listens on {data}" + (f", management on {management}" if management else ""))

    return run_box(root, options, ready=ready)


def _numbers(given: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in given:
        name, _, text = each.partition("=")
        try:
            found[name] = int(text) if text.isdigit() else float(text)
        except ValueError:
            raise click.UsageError(f"--trial {each}: expected NAME=NUMBER, such as min_seconds=60") from None
    return found
