"""Which bundles this process answers with, and how one takes another's place without a lost request.

1. A bundle is loaded beside the one that answers: read from the store and verified, made into an engine, its golden
   rows asked. Then one reference is replaced. Who was being answered is finished by the engine that began.
2. The one before stays loaded while memory allows, so that going back is that one replacement again, without the disk.
3. Where there is no memory for both, spare engines go first; then requests for the model wait, for the time of the
   swap, while the old engine gives its memory back. If the new one does not load, the old one is loaded again.
4. A bundle that cannot be loaded changes nothing for any other model. Where nothing else answers for its own, its
   rules and its fallback do, without its model, until it can be loaded or another is ordered.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from edgeml.bundles import Bundle
from edgeml.errors import EdgemlError
from edgeml.monitor.free_memory import free_memory_bytes
from edgeml.monitor.tally import Tally
from edgeml.runtime.engine import Engine
from edgeml.serving.faults import is_the_box

# Memory that must remain free beside two bundles: requests, the page cache, everybody else on the box.
RESERVE_BYTES = 32 * 1024 * 1024
LOADING_TURN_S = 0.0005
# Of the reason that each answer without a model carries.
REASON_CHARACTERS = 300


class Stage(Protocol):
    """Where engines answer: the data plane."""

    def show(self, engines: Mapping[str, Engine], reasons: Mapping[str, str]) -> None:
        """Replaces what answers, at once."""

    def holding(self, model: str) -> AbstractContextManager[None]:
        """Lets requests for a model wait."""


@dataclass(frozen=True)
class Order:
    """What the supervisor wants to answer for a model.

    Attributes:
        model: Name of the model.
        digest: Hex digest; None where nothing can answer.
        previous: Hex digest of the one to keep loaded beside it.
        trial: Whether it is on trial.
        reason: Why nothing can answer, or why the model is left out.
        peak_bytes: Memory that loading takes, in bytes; 0 where nobody measured.
        without_model: Whether rules and fallback are to answer alone: nothing of the model may be loaded.
        disabled_rules: Ids of rules that must not answer.
    """

    model: str
    digest: str | None
    previous: str | None = None
    trial: bool = False
    reason: str = ""
    peak_bytes: int = 0
    without_model: bool = False
    disabled_rules: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Order:
        """Reads one order of a supervisor's message; what a newer one says besides is ignored."""
        known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        return cls(**known | {"disabled_rules": tuple(map(str, known.get("disabled_rules", ())))})


@contextmanager
def _giving_way() -> Iterator[None]:
    """Lets requests through while a bundle is loaded: the loader keeps the GIL for half a millisecond, not for five."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(LOADING_TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Lineup:
    """The engines of this process. ``follow`` is called by one thread only.

    Args:
        read: Reads and verifies a bundle by hex digest.
        make: Makes an engine of a bundle and tries it.
        make_degraded: Makes one of its rules and its fallback alone; told why.
        stage: Where engines answer.
        free: Bytes of memory that are free.
        begins: Told the hex digest of each bundle before it is loaded.

    Attributes:
        orders: What was ordered last.
        loading: Hex digest of the bundle that is being loaded, and since when by CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        read: Callable[[str], Bundle],
        make: Callable[[Bundle], Engine],
        make_degraded: Callable[[Bundle, str], Engine],
        stage: Stage,
        *,
        free: Callable[[], int] = free_memory_bytes,
        begins: Callable[[str], None] = lambda digest: None,
    ) -> None:
        self._read = read
        self._make = make
        self._make_degraded = make_degraded
        self._begins = begins
        self._stage = stage
        self._free = free
        self._loaded: dict[str, Engine] = {}
        self._serving: dict[str, str] = {}
        # By model, of those that have nothing in ``_serving``: the digest, and who answers.
        self._degraded: dict[str, tuple[str, Engine]] = {}
        self._reasons: dict[str, str] = {}
        # Rules that must not answer, by hex digest, as they were ordered last.
        self._left_out: dict[str, tuple[str, ...]] = {}
        self.orders: tuple[Order, ...] = ()
        self.loading: tuple[str, float] | None = None

    @property
    def serving(self) -> dict[str, str]:
        """Hex digest of what answers whole, by model."""
        return dict(self._serving)

    @property
    def degraded(self) -> dict[str, str]:
        """Hex digest of what answers without its model, by model."""
        return {model: digest for model, (digest, _) in self._degraded.copy().items()}

    def engines(self) -> dict[str, dict[str, Engine]]:
        """All loaded engines by model and hex digest, those that are kept warm too."""
        found: dict[str, dict[str, Engine]] = {}
        for digest, engine in self._loaded.copy().items():
            found.setdefault(engine.name, {})[digest] = engine
        return found

    def follow(self, orders: Sequence[Order]) -> dict[str, dict[str, Any]]:
        """Makes what is ordered answer.

        Args:
            orders: One for each model; a model without one does not answer any more.

        Returns:
            By model: ``digest`` that answers now (or None), ``reason``, and ``degraded`` where only its rules and its
            fallback do; where the order could not be followed ``failed`` (its digest), ``fault`` (``bundle`` or
            ``box``) and ``without_model`` as ordered; where it was, ``seconds`` and ``warm``. ``disabled_rules`` of
            what answers, where there are any.
        """
        self.orders = tuple(orders)
        self._left_out |= {order.digest: order.disabled_rules for order in orders if order.digest is not None}
        wanted = {order.model for order in orders}
        for model in {*self._serving, *self._degraded} - wanted:
            self._let_go(model)
        with _giving_way():
            report = {order.model: self._follow(order) | self._disabled(order.model) for order in orders}
        self._show()
        self._drop_spares()
        return report

    def _follow(self, order: Order) -> dict[str, Any]:
        model, digest = order.model, order.digest
        self._reasons.pop(model, None)
        if digest is None:
            self._let_go(model)
            self._reasons[model] = order.reason
            return {"digest": None, "reason": order.reason}
        if order.without_model:
            return self._degrade(order)
        if self._serving.get(model) == digest:
            _disable(self._loaded[digest], order.disabled_rules)
            return {"digest": digest, "reason": "", "seconds": 0.0, "warm": True}
        start = time.monotonic()
        warm = digest in self._loaded
        try:
            if not warm:
                self._load(order)
            elif order.trial:
                # A trial begins at nought, also for a bundle that has answered before.
                self._loaded[digest] = _afresh(self._loaded[digest])
            self._loaded[digest].disable(order.disabled_rules)
        except Exception as error:
            # A loader's own mistake counts as the bundle's fault: it is this bundle that brings it out.
            box = is_the_box(error)
            reason = f"{error}" if isinstance(error, (EdgemlError, OSError)) else f"{type(error).__name__}: {error}"
            failed = {"reason": reason, "failed": digest, "fault": "box" if box else "bundle"}
            if model not in self._serving and not order.trial:
                self._degrade(order, f"its model could not be loaded: {reason}")
            elif model not in self._serving and model not in self._degraded:
                # It is gone back from: what may answer without its model is for the supervisor to say.
                self._reasons[model] = reason
            return failed | self._answers(model)
        self._let_go(model)
        self._serving[model] = digest
        self._show()
        return {"digest": digest, "reason": "", "seconds": time.monotonic() - start, "warm": warm}

    def _degrade(self, order: Order, reason: str = "") -> dict[str, Any]:
        """Lets rules and fallback of a bundle answer, without its model."""
        model, digest = order.model, order.digest
        # Never empty: that would stand for the whole bundle.
        reason = (reason or order.reason or "its model is left out")[:REASON_CHARACTERS]
        assert digest is not None
        known = self._degraded.get(model)
        if known is None or known[0] != digest or known[1].degraded != reason:
            try:
                made = self._made(digest, reason)
            except Exception as error:
                self._let_go(model)
                self._reasons[model] = why = f"{reason}; and without it: {error}"
                fault = "box" if is_the_box(error) else "bundle"
                return {"digest": None, "reason": why, "failed": digest, "fault": fault, "without_model": True}
            self._let_go(model)
            self._degraded[model] = digest, made
            self._show()
        else:
            _disable(known[1], order.disabled_rules)
        return {"reason": reason} | self._answers(model)

    def _answers(self, model: str) -> dict[str, Any]:
        degraded = self._degraded.get(model)
        if degraded is not None:
            return {"digest": degraded[0], "degraded": True}
        return {"digest": self._serving.get(model)}

    def _disabled(self, model: str) -> dict[str, Any]:
        digest = self._serving.get(model)
        engine = self._loaded[digest] if digest is not None else self._degraded.get(model, (None, None))[1]
        return {"disabled_rules": list(engine.disabled)} if engine is not None and engine.disabled else {}

    def _let_go(self, model: str) -> None:
        self._serving.pop(model, None)
        self._degraded.pop(model, None)

    def _load(self, order: Order) -> None:
        assert order.digest is not None
        if self._fits(order):
            self._loaded[order.digest] = self._made(order.digest)
            return
        self._drop_spares()
        if self._fits(order) or order.model not in self._serving:
            self._loaded[order.digest] = self._made(order.digest)
            return
        self._load_alone(order, self._serving[order.model])

    def _load_alone(self, order: Order, old: str) -> None:
        """Loads a bundle where there is no room for two: the old one goes first, and requests wait."""
        assert order.digest is not None
        with self._stage.holding(order.model):
            del self._loaded[old], self._serving[order.model]
            self._show()
            gc.collect()
            failure: Exception | None = None
            try:
                self._loaded[order.digest] = self._made(order.digest)
                self._serving[order.model] = order.digest
            except Exception as error:
                # Without its traceback, which would keep what was loaded so far.
                failure = error.with_traceback(None)
            if failure is not None:
                gc.collect()
                self._loaded[old] = self._made(old)
                self._serving[order.model] = old
            self._show()
        if failure is not None:
            raise failure

    def _made(self, digest: str, without_model: str = "") -> Engine:
        self.loading = (digest, time.monotonic())
        self._begins(digest)
        try:
            bundle = self._read(digest)
            engine = self._make_degraded(bundle, without_model) if without_model else self._make(bundle)
            engine.disable(self._left_out.get(digest, ()))
            return engine
        finally:
            self.loading = None

    def _fits(self, order: Order) -> bool:
        return order.peak_bytes == 0 or self._free() >= order.peak_bytes + RESERVE_BYTES

    def _show(self) -> None:
        engines = {model: engine for model, (_, engine) in self._degraded.items()}
        engines |= {model: self._loaded[digest] for model, digest in self._serving.items()}
        self._stage.show(engines, self._reasons.copy())

    def _drop_spares(self) -> None:
        """Lets go of engines that are neither answering nor to be gone back to; all spares where memory is short."""
        kept = set(self._serving.values())
        if self._free() >= 2 * RESERVE_BYTES:
            kept |= {order.previous for order in self.orders if order.previous is not None}
        for digest in [digest for digest in self._loaded if digest not in kept]:
            del self._loaded[digest]
        self._left_out = {digest: rules for digest, rules in self._left_out.items() if rules and digest in self._known}

    @property
    def _known(self) -> set[str]:
        return {*self._loaded, *(digest for digest, _ in self._degraded.values())}


def _disable(engine: Engine, rules: Sequence[str]) -> None:
    """Disables rules of what answers already. Where that fails (no memory for another list), it answers as before: the
    report says which rules are disabled, and all other orders are followed."""
    try:
        engine.disable(rules)
    except (EdgemlError, MemoryError) as error:
        print(f"{engine.name}: rules are not switched: {error or 'no memory'}", file=sys.stderr, flush=True)


def _afresh(engine: Engine) -> Engine:
    """The same bundle on a new trial: nothing is tallied yet. Drift goes on being counted since it was loaded."""
    return Engine(
        engine.whole,
        tally=Tally(engine.tally.deadline_ns),
        drift=engine.drift,
        quality=engine.quality.afresh(),
        card=engine.card,
    )
