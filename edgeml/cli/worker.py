"""``edgeml worker``: the process that answers, started by ``edgeml serve --store`` and not by people."""

from __future__ import annotations

from pathlib import Path

import click

# What the supervisor takes for "no later worker could listen there either".
CANNOT_LISTEN = 3


@click.command(hidden=True)
@click.option("--store", type=click.Path(path_type=Path), required=True)
@click.option("--listen-fd", type=click.IntRange(min=0))
@click.option("--host", default="127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), default=8080)
@click.option("--uds", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(1, 64))
@click.option("--max-body", type=click.IntRange(min=1), default=8 * 1024 * 1024)
@click.option("--max-rows", type=click.IntRange(min=1), default=10_000)
def worker(
    store: Path,
    listen_fd: int | None,
    host: str,
    port: int,
    uds: Path | None,
    threads: int | None,
    max_body: int,
    max_rows: int,
) -> None:
    """Answer with what the supervisor of a store says."""
    from edgeml.serving import Limits, adopted_listener, tcp_listener, unix_listener, work

    limits = Limits(body_bytes=max_body, rows=max_rows, **({} if threads is None else {"threads": threads}))
    try:
        if listen_fd is not None:
            listener = adopted_listener(listen_fd)
        else:
            listener = unix_listener(uds) if uds is not None else tcp_listener(host, port)
    except OSError as error:
        click.echo(f"error: {error.strerror or error}", err=True)
        raise SystemExit(CANNOT_LISTEN) from error
    raise SystemExit(work(store, listener, limits))
