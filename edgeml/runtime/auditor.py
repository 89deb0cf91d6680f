"""Audits: a share of what a rule, or another early tier, has answered is put to the whole model too, in the background.

1. A request pays one subtraction and one comparison (``Sampler``), and that only in a bundle that has both a model and
   something that answers before it. Of a drawn answer the record is kept; the answer is on its way meanwhile.
2. The queue is bounded in records and bytes. What does not fit is dropped and counted, and so is what waits for a
   bundle that has been exchanged.
3. One thread asks the model, and rests after each record for as long as it takes to stay below its share of one core.
   It counts the time on the clock and not that on the processor, so on a busy box it audits less. It has no lower
   priority than others: a thread that is put off while it holds the interpreter's lock would put off every request.
4. Nothing that happens here can fail a request, and nobody's answer is changed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

from edgeml.monitor.audit_counts import AuditCounts
from edgeml.monitor.capture_policy import CapturePolicy, Sampler
from edgeml.runtime.asked import Kept, Way
from edgeml.runtime.live_rules import answers_early, model_alone
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor

QUEUED_RECORDS = 256
QUEUED_BYTES = 4 * 1024 * 1024
CPU_SHARE = 0.05
# Rests shorter than this are put together: a rest itself costs as much as an audit.
REST_S = 0.002
_LATE = ("model", "fallback")


@dataclass(frozen=True, slots=True)
class _Drawn:
    audits: Audits
    kept: Kept
    answers: Sequence[Prediction]


class Audits:
    """The audits of one bundle.

    Args:
        predictor: The bundle, with all of its rules.
        reference: The member ``quality`` of its ``reference.json``; None where it has none.

    Attributes:
        counts: What they said.
        wanted: Whether there is anything to be audited.
        tolerance: Numbers that are this close agree.
    """

    def __init__(self, predictor: Predictor, reference: Mapping[str, Any] | None = None) -> None:
        self.counts = AuditCounts()
        self.wanted = answers_early(predictor)
        self.tolerance = _usual_error(predictor, reference)
        self._predictor = predictor
        self._model: Predictor | None = None
        # Made with the first audit, as the model alone is: thousands of rules take some memory.
        self._index: dict[str, int] = {}

    def check(self, kept: Kept, answers: Sequence[Prediction], tolerance: float | None) -> None:
        """Asks the model, and counts whether it answers alike.

        Args:
            kept: The records.
            answers: What was answered to them.
            tolerance: Numbers that are this close agree; None for the bundle's own.
        """
        within = self.tolerance if tolerance is None else tolerance
        try:
            if self._model is None:
                self._model = model_alone(self._predictor)
                rules = self._predictor.rules.rules if self._predictor.rules is not None else ()
                self._index = {rule.id: index for index, rule in enumerate(rules)}
            asked = () if self._model is None else kept.ask(self._model)
            verdicts = [
                (early, _agree(early, late, within))
                for early, late in zip(answers, asked, strict=True)
                if late.tier == "model"
            ]
        except Exception:  # whatever it is: the answer went out long ago, and the next record is another one
            self.counts.failed(len(answers))
            return
        for early, agrees in verdicts:
            rule = None if early.rule is None else self._index.get(early.rule)
            self.counts.audited(early.tier, agrees, rule=rule)
        if len(verdicts) < len(answers):
            self.counts.failed(len(answers) - len(verdicts))


class Audited(Protocol):
    """An engine whose answers are audited."""

    auditor: Auditor | None
    sampler: Sampler | None

    @property
    def audits(self) -> Audits | None: ...


class Auditor:
    """Audits the bundles of one process. Any thread may call any method.

    Args:
        clock: Seconds of CLOCK_MONOTONIC.

    Attributes:
        cpu_share: Share of one core that audits may take.
        tolerance: Numbers that are this close agree; None for what each bundle says.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready = threading.Condition()
        self._queue: deque[_Drawn] = deque()
        self._records = 0
        self._bytes = 0
        self._share = 0.0
        self._sampler: Sampler | None = None
        self._engines: tuple[Audited, ...] = ()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._free_at = 0.0
        self.cpu_share = CPU_SHARE
        self.tolerance: float | None = None

    def follow(self, share: float, cpu_share: float = CPU_SHARE, tolerance: float | None = None) -> None:
        """Does as the operator says from now on.

        Args:
            share: Share of the answers of early tiers that is audited; 0 audits none.
            cpu_share: Share of one core that this may take.
            tolerance: Numbers that are this close agree; None for what each bundle says.
        """
        with self._ready:
            self.cpu_share, self.tolerance = cpu_share, tolerance
            if share != self._share:
                self._share = share
                self._sampler = Sampler(CapturePolicy(share=share, boost=1.0)) if share else None
            self._hand_out()
            if not share:
                self._let_go(lambda drawn: True)

    def watch(self, engines: Iterable[Audited]) -> None:
        """Audits these engines from now on, and no others; what waits for others is dropped.

        Args:
            engines: Who answers now.
        """
        with self._ready:
            before, self._engines = self._engines, tuple(engines)
            for engine in before:
                if not any(engine is each for each in self._engines):
                    engine.sampler = None
            self._hand_out()
            watched = [each.audits for each in self._engines]
            self._let_go(lambda drawn: not any(drawn.audits is each for each in watched))

    def take(self, sampler: Sampler, audits: Audits, answers: Sequence[Prediction], way: Way, question: Any) -> None:
        """Draws among answers, whose number was taken off ``sampler.left``, which is below 0 with that.

        Args:
            sampler: From whom it was taken off.
            audits: Those of the bundle that answered.
            answers: The answers.
            way: How the bundle was asked.
            question: With what.
        """
        with sampler.lock:
            drawn = [row for row, _ in sampler.choose(len(answers))]
        early = [(row, answer) for row in drawn if (answer := answers[row]).tier not in _LATE]
        if not early:
            return
        with self._ready:
            room = QUEUED_RECORDS - self._records if self._watches(audits) else 0
            if len(early) > room:
                # Of a batch as many as fit, whichever: else a client who sends large ones alone is never audited.
                audits.counts.dropped(len(early) - room)
                early = sorted(random.sample(early, room), key=itemgetter(0))
            if not early:
                return
            try:
                kept = way(question, [row for row, _ in early])
            except Exception:  # a column or a record of a kind that only its reader knows
                audits.counts.failed(len(early))
                return
            if kept.size + self._bytes > QUEUED_BYTES:
                audits.counts.dropped(len(early))
                return
            self._queue.append(_Drawn(audits, kept, [answer for _, answer in early]))
            self._records += len(early)
            self._bytes += kept.size
            self._ready.notify()

    def end(self) -> None:
        """Audits no more; what waits is dropped. A record that the model is being asked about is not waited for."""
        self.watch(())
        with self._ready:
            self._ended.set()
            self._ready.notify_all()

    def _hand_out(self) -> None:
        sampler = None if self._ended.is_set() else self._sampler
        for engine in self._engines:
            wanted = engine.audits is not None and engine.audits.wanted
            engine.auditor = self
            engine.sampler = sampler if wanted else None
            if engine.sampler is not None and self._thread is None:
                # Most boxes have a bundle with rules; the others never have this thread.
                self._thread = threading.Thread(target=self._work, name="edgeml-auditor", daemon=True)
                self._thread.start()

    def _watches(self, audits: Audits) -> bool:
        return self._share > 0 and any(each.audits is audits for each in self._engines)

    def _let_go(self, which: Callable[[_Drawn], bool]) -> None:
        for drawn in [each for each in self._queue if which(each)]:
            self._queue.remove(drawn)
            self._forget(drawn)
            drawn.audits.counts.dropped(len(drawn.answers))

    def _forget(self, drawn: _Drawn) -> None:
        self._records -= len(drawn.answers)
        self._bytes -= drawn.kept.size

    def _work(self) -> None:
        while not self._ended.is_set():
            with self._ready:
                while not self._queue and not self._ended.is_set():
                    self._ready.wait()
                if self._ended.is_set():
                    return
                drawn = self._queue.popleft()
                self._forget(drawn)
            begun = self._clock()
            drawn.audits.check(drawn.kept, drawn.answers, self.tolerance)
            del drawn  # or it would keep its bundle in memory until the next one comes
            self._rest(begun)

    def _rest(self, begun: float) -> None:
        now = self._clock()
        self._free_at = max(self._free_at, begun) + (now - begun) / self.cpu_share
        if self._free_at - now > REST_S:
            self._ended.wait(self._free_at - now)


def _agree(early: Prediction, late: Prediction, within: float) -> bool:
    if early.value is None:
        return early.label == late.label
    one, other = (each.value if isinstance(each.value, list) else [each.value] for each in (early, late))
    return len(one) == len(other) and all(
        a is not None and b is not None and abs(a - b) <= within for a, b in zip(one, other, strict=True)
    )


def _usual_error(predictor: Predictor, reference: Mapping[str, Any] | None) -> float:
    """How far off the model usually is: what is no farther from it agrees with it.

    It is the root of the mean squared error that was measured when the bundle was built; where none was, the tolerance
    of the parity check.
    """
    try:
        rows, _, squared = (reference or {})["errors"]["model"]
        if rows > 0 and squared >= 0:
            return float((squared / rows) ** 0.5)
    except (KeyError, TypeError, ValueError):
        pass  # a classification, or a reference without known answers
    return float(predictor.config.get("tolerance", 0.0))
