"""What happens to a bundle before it may answer: golden rows asked again, buffers made, pages of memory touched."""

from __future__ import annotations

from edgeml.bundles import Bundle
from edgeml.monitor.tally import Tally
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.auditor import Auditor
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.engine import Engine
from edgeml.runtime.load import predictor_of, predictor_without_model
from edgeml.runtime.members import reference_of
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.capturing import Capturing
from edgeml.serving.data_plane import DataPlane, Handler
from edgeml.serving.limits import Limits

# Single records asked before the first request, so that it is no slower than the next.
ROUNDS = 3


def make_data_plane(bundle: Bundle, limits: Limits) -> DataPlane:
    """Makes a bundle ready to be asked over HTTP.

    Args:
        bundle: A bundle that was read and verified.
        limits: What one request may cost.

    Raises:
        BundleError: A member does not fit, or a golden row is answered otherwise on this machine.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    engine = checked_engine(bundle, max_rows=limits.rows)
    return DataPlane({engine.name: engine}, pages=_pages, limits=limits)


def make_empty_plane(limits: Limits, capturing: Capturing | None = None, auditor: Auditor | None = None) -> DataPlane:
    """A data plane that shows nothing yet.

    Args:
        limits: What one request may cost.
        capturing: Where answers and labels are offered.
        auditor: Who audits the answers of rules.
    """
    return DataPlane({}, pages=_pages, limits=limits, capturing=capturing, auditor=auditor)


def _pages(plane: DataPlane) -> Handler:
    # Flask is imported here, with the first request that needs it: it would double the time to start.
    from edgeml.serving.pages import make_pages

    return make_pages(plane)


def checked_engine(bundle: Bundle, *, max_rows: int) -> Engine:
    """Makes the engine of a bundle that still answers as it did when it was built.

    Args:
        bundle: A bundle that was read and verified.
        max_rows: Largest number of records in one request.

    Raises:
        BundleError: A member does not fit, or a golden row is answered otherwise on this machine.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    return _ready(predictor_of(bundle, max_rows=max_rows), bundle)


def degraded_engine(bundle: Bundle, reason: str, *, max_rows: int) -> Engine:
    """Makes the engine of a bundle whose model is left out: its rules answer, and else its fallback.

    Args:
        bundle: A bundle that was read and verified.
        reason: Why, as answers of the fallback say it.
        max_rows: Largest number of records in one request.

    Raises:
        BundleError: It has neither rules nor a fallback, or a golden row of its rules is answered otherwise.
    """
    return _ready(predictor_without_model(bundle, reason, max_rows=max_rows), bundle)


def _ready(predictor: Predictor | TensorPredictor, bundle: Bundle) -> Engine:
    reference = reference_of(bundle)
    layout = drift_layout(bundle, reference)
    check_golden_rows(predictor)
    warm(predictor)
    # Only now: what was asked here is nobody's traffic.
    drift = drift_monitor(layout, predictor) if layout is not None and isinstance(predictor, Predictor) else None
    deadline_ms = bundle.config.get("slo", {}).get("deadline_ms")
    deadline_ns = None if deadline_ms is None else int(deadline_ms * 1e6)
    return Engine(
        predictor,
        tally=Tally(deadline_ns),
        drift=drift,
        quality=AnswerQuality(predictor, reference.get("quality")),
        card=bundle.members.get("CARD.md", b""),
    )


def check_golden_rows(predictor: Predictor | TensorPredictor) -> int:
    """Asks the golden rows again, and gives their number.

    Raises:
        BundleError: One is answered otherwise on this machine.
        ModelError: The model fails on one.
    """
    report = predictor.golden_check()
    report.require(f"{predictor.name} {predictor.version}")
    return report.rows


def warm(predictor: Predictor | TensorPredictor) -> None:
    """Asks a few single records, so that the buffers for one are there and the pages of memory touched."""
    if isinstance(predictor, Predictor):
        for row in predictor.golden[:ROUNDS]:
            predictor.predict(row["record"])
