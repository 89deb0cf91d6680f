"""``edgeml serve``: the data plane of one bundle, on a local port or a Unix socket."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--uds", type=click.Path(path_type=Path), help="Listen on a Unix socket instead.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@click.option("--threads", type=click.IntRange(1, 64), help="Requests worked on at once; default two for each core.")
@click.option("--max-body", type=click.IntRange(min=1), default=8 * 1024 * 1024, show_default=True, help="In bytes.")
@click.option("--max-rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Records in a request.")
def serve(
    file: Path,
    host: str,
    port: int,
    uds: Path | None,
    keyring: Path | None,
    threads: int | None,
    max_body: int,
    max_rows: int,
) -> None:
    """Answer requests for the bundle FILE over HTTP.

    The bundle is verified, and its golden rows are asked again, before the service says that it listens. SIGTERM ends
    it once every request has its answer.
    """
    from edgeml.bundles import Bundle, Keyring
    from edgeml.serving import Limits, make_data_plane, tcp_listener, unix_listener
    from edgeml.serving import serve as serve_plane

    limits = Limits(body_bytes=max_body, rows=max_rows, **({} if threads is None else {"threads": threads}))
    plane = make_data_plane(Bundle.read(file, keyring=Keyring.read(keyring) if keyring else None), limits)
    listener = unix_listener(uds) if uds is not None else tcp_listener(host, port)
    engine = plane.engine
    line = f"{engine.name} {engine.version} ({engine.digest}) listens on {listener.address}"
    raise SystemExit(serve_plane(plane, listener, ready=lambda: click.echo(line)))
