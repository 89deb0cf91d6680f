"""What one request may cost at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the data plane.

    Attributes:
        body_bytes: Largest body, as sent and as inflated.
        rows: Largest number of records in one JSON body or tensor request. NDJSON is answered line by line and has
            no bound but ``body_bytes``.
        connections: Connections open at a time; more wait in the listener's queue.
        threads: Requests worked on at a time.
        quiet_s: After a signal to stop, how long no request must have come before connections are closed.
        drain_s: After a signal to stop, how long new requests are answered at most.
        finish_s: How long a request that is being answered may still take after that.
    """

    body_bytes: int = 8 * 1024 * 1024
    rows: int = 10_000
    connections: int = 256
    threads: int = 4
    quiet_s: float = 0.25
    drain_s: float = 5.0
    finish_s: float = 10.0
