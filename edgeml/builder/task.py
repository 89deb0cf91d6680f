"""What kind of question a fitted estimator answers, and with which labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from edgeml.builder.export import cluster_labels, final, final_name, plain_label, refuse_several_labels, task_name
from edgeml.errors import BuildError
from edgeml.runtime.prediction import Label


@dataclass(frozen=True)
class Task:
    """The task of a bundle.

    Attributes:
        name: ``classification``, ``regression``, ``outlier`` or ``clustering``.
        labels: The labels in the order of the estimator's scores; None for a regression.
    """

    name: str
    labels: tuple[Label, ...] | None

    @property
    def has_truth(self) -> bool:
        """Whether a known answer y means something for this task."""
        return self.name in ("classification", "regression")

    def plain(self, answers: Any) -> list[Any]:
        """Answers of scikit-learn as plain JSON values."""
        return [item.item() if isinstance(item, np.generic) else item for item in np.asarray(answers)]

    def truth(self, y: Any) -> list[Any]:
        """Known answers as plain JSON values (nested lists for several outputs)."""
        return list(np.asarray(y).tolist())


def task_of(pipeline: Any, y: Any) -> Task:
    """Finds the task of a fitted estimator.

    Args:
        pipeline: The estimator, or a Pipeline that ends in one.
        y: Known answers, None where there are none.

    Raises:
        BuildError: It has no ``predict`` or is not fitted.
        UnsupportedError: It is of no known kind, or predicts several labels at once.
    """
    name = final_name(pipeline)
    if not hasattr(pipeline, "predict"):
        raise BuildError(
            f"{name} has no predict; end the pipeline in a classifier, regressor, outlier detector or clusterer"
        )
    try:
        check_is_fitted(pipeline)
    except NotFittedError as error:
        raise BuildError(f"{name} is not fitted; call fit(X, y) before edgeml.build") from error
    task = task_name(pipeline)
    if task == "classification":
        classes = getattr(pipeline, "classes_", None)
        if classes is None:
            raise BuildError(f"{name} has no classes_; is it fitted?")
        refuse_several_labels(pipeline, task)
        return Task(task, tuple(plain_label(label) for label in classes))
    if task == "outlier":
        return Task(task, (-1, 1))
    return Task(task, tuple(cluster_labels(final(pipeline))) if task == "clustering" else None)
