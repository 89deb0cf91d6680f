"""Streams of sub-windows in bulk: the formula of ``edgeml.monitor`` on arrays, so that 10,000 streams fit into minutes.

``check`` holds this twin to the code that boxes run; nothing is measured unless they agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from edgeml.monitor.alarms import debiased_psi
from edgeml.monitor.drift_evidence import RARE, RARE_ORDERED, TYPICAL_PSI, DriftEvidence
from edgeml.monitor.windows import KEPT, ROWS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class References:
    """Many references of one kind of column, one a row.

    Attributes:
        counts: Rows by bin.
        group_of: Group of each bin.
        groups: Rows by group, padded with -1.
        rest: Group of what was left over, -1 where there is none.
        added: What may be added to it, by stream.
    """

    counts: Ints
    group_of: Ints
    groups: Ints
    rest: Ints
    added: Ints

    @classmethod
    def of(cls, counts: Ints, *, ordered: bool) -> References:
        """Groups the bins, for all references at once: one step for each bin."""
        n, bins = counts.shape
        group_of = np.zeros((n, bins), dtype=np.int64)
        groups = np.full((n, bins), -1, dtype=np.int64)
        used = np.zeros(n, dtype=np.int64)
        gathering = np.full(n, -1, dtype=np.int64)
        every = np.arange(n)
        limit = RARE_ORDERED if ordered else RARE
        for b in range(bins):
            count = counts[:, b]
            rare = count < limit
            fresh = ~rare | (gathering < 0)
            target = np.where(fresh, used, gathering)
            groups[every, target] = np.where(fresh, count, groups[every, target] + count)
            group_of[:, b] = target
            used += fresh
            full = ordered & (groups[every, target] >= limit)
            gathering = np.where(rare, np.where(full, -1, target), gathering)
        lucky = 0 if ordered else RARE * (counts == RARE).sum(1)
        added = np.stack([every * 0, every * 0 + 1, every * 0 + 2, every * 0 + lucky], axis=1)
        return cls(counts, group_of, groups[:, : int(used.max())], gathering, added)

    def gathered(self, rows: Ints) -> Ints:
        """Counts by bin of shape (references, anything, bins) as counts by group."""
        n, looks, bins = rows.shape
        out = np.zeros((n, looks, self.groups.shape[1]), dtype=np.int64)
        if np.all(self.group_of == self.group_of[0]):
            for b, group in enumerate(self.group_of[0]):
                out[:, :, group] += rows[:, :, b]
            return out
        for b in range(bins):
            target = np.broadcast_to(self.group_of[:, None, b : b + 1], (n, looks, 1))
            grown = np.take_along_axis(out, target, 2) + rows[:, :, b : b + 1]
            np.put_along_axis(out, target, grown, 2)
        return out

    def log_evidence(self, x: Ints) -> Floats:
        """log E for counts by group of shape (references, anything, groups)."""
        r = self.groups[:, None, :]
        there = r >= 0
        n_groups = there.sum(-1, keepdims=True)
        m = self.counts.sum(1)[:, None].astype(float)
        c = np.minimum(np.maximum((r > 0).sum(-1), 1) / TYPICAL_PSI, m / 2)
        above = np.where(there, c[..., None] * (r + 1 / n_groups) / (m[..., None] + 1), 1.0)
        is_rest = np.arange(r.shape[-1]) == self.rest[:, None, None]
        plain = there & ~is_rest
        below = np.where(plain, r, 1).astype(float)
        rows = x.sum(-1)
        scattered = gammaln(c) - gammaln(c + rows) + np.where(there, gammaln(above + x) - gammaln(above), 0).sum(-1)
        narrow = np.where(plain, gammaln(below + x) - gammaln(below), 0).sum(-1)
        has_rest = self.rest[:, None] >= 0
        rest = np.where(has_rest[..., None] & is_rest, r, 0).sum(-1).astype(float)
        x_rest = np.where(is_rest, x, 0).sum(-1).astype(float)
        others, in_others = m - rest, rows - x_rest
        whole = scattered - (gammaln(m) - gammaln(m + rows) + narrow)
        with np.errstate(all="ignore"):
            scattered = scattered - (gammaln(others) - gammaln(others + in_others) + narrow)
            explained = np.full(x_rest.shape, -np.inf)
            for s in self.added.T:
                a = rest + s[:, None]
                value = _log_beta(x_rest, in_others, np.where(a > 0, a, 1), others)
                explained = np.maximum(explained, np.where(a > 0, value, np.where(x_rest > 0, -np.inf, 0.0)))
            new = _log_beta(x_rest, in_others, 0.5, others * 0 + 0.5)
            mixed = np.logaddexp(scattered, new) - np.log(2) - explained
        value = np.where(has_rest, mixed, whole)
        return np.where(n_groups[..., 0] > 1, value, 0.0)


def _log_beta(x, y, a, b):  # type: ignore[no-untyped-def]
    return gammaln(a + x) - gammaln(a) + gammaln(b + y) - gammaln(b) - (gammaln(a + b + x + y) - gammaln(a + b))


def debiased(reference: Ints, current: Ints) -> Floats:
    """The debiased population stability index, row by row."""
    some = (reference > 0) | (current > 0)
    p, q = np.where(reference > 0, reference, 0.5) * some, np.where(current > 0, current, 0.5) * some
    p, q = p / p.sum(-1, keepdims=True), q / np.maximum(q.sum(-1, keepdims=True), 1e-300)
    with np.errstate(all="ignore"):
        index = np.where(some, (q - p) * np.log(q / p), 0.0).sum(-1)
        bias = (some.sum(-1) - 1) * (1 / reference.sum(-1) + 1 / current.sum(-1))
    return np.maximum(index - bias, 0.0)


@dataclass(frozen=True)
class Looks:
    """What was seen at each look, one stream a row.

    Attributes:
        log_evidence: log R.
        effect: Debiased index of the suffix with most of the evidence.
    """

    log_evidence: Floats
    effect: Floats


def watch(references: References, pieces: Ints, piece_rows: int) -> Looks:
    """Looks after each piece of rows; a sub-window closes with the first piece at which it has 500.

    Args:
        references: One for each stream.
        pieces: Counts by bin, of shape (streams, pieces, bins).
        piece_rows: Rows of a piece, a divisor of 500.
    """
    streams, looks, _ = pieces.shape
    per_window = ROWS // piece_rows
    totals = np.concatenate([np.zeros_like(pieces[:, :1]), pieces.cumsum(1)], axis=1)
    grouped = references.gathered(totals)
    log_evidence, effect = np.empty((streams, looks)), np.empty((streams, looks))
    for look in range(looks):
        # Judged before a full sub-window is closed; its own start and those of the closed ones before it.
        first = look // per_window
        starts = np.array([s * per_window for s in range(max(0, first - KEPT), first + 1)])
        logs = references.log_evidence(grouped[:, look + 1, None] - grouped[:, starts])
        log_evidence[:, look] = np.logaddexp.reduce(logs, axis=1)
        best = starts[logs.argmax(1)]
        most = totals[:, look + 1] - totals[np.arange(streams), best]
        effect[:, look] = debiased(references.counts, most)
    return Looks(log_evidence, effect)


def check(rng: np.random.Generator) -> float:
    """Compares the twin with the code that boxes run.

    Returns:
        The largest difference found.

    Raises:
        SystemExit: It is more than rounding.
    """
    worst = 0.0
    for _ in range(200):
        bins = int(rng.integers(2, 40))
        shares = rng.dirichlet(np.full(bins, rng.choice([0.05, 0.3, 3.0])))
        reference = rng.multinomial(int(rng.choice([20, 300, 5_000])), shares)
        rows = rng.multinomial(int(rng.integers(0, 3_000)), rng.dirichlet(shares * 50 + 0.01))
        ordered = bool(rng.integers(2))
        twin = References.of(reference[None], ordered=ordered)
        evidence = DriftEvidence(reference.tolist(), ordered=ordered)
        ours = float(twin.log_evidence(twin.gathered(rows[None, None]))[0, 0])
        worst = max(worst, abs(ours - evidence.log(rows.tolist())))
        if rows.sum():
            effect = debiased_psi(reference.tolist(), rows.tolist())
            worst = max(worst, abs(float(debiased(reference[None], rows[None])[0]) - (effect or 0.0)))
    if not worst < 1e-6:
        raise SystemExit(f"the simulation differs from edgeml.monitor by {worst}")
    return worst
