"""Which digit is in this picture? A small neural network over 16 x 16 grey levels.

Data: the UCI test set of optical digits (Alpaydin and Kaynak, 1998), as scikit-learn ships it: 8 x 8 counts of ink.
Each is rendered as a photograph of paper would be: 32 x 32 pixels, somewhere near the middle, with grain, on more or
less white paper. The network is fitted on the rows that the box makes of these pictures (``edgeml.image_rows``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from edgeml import ImageSpec, image_rows

SPEC = ImageSpec(width=16, height=16, channels="grey", resize="area", scale=1 / 255, mean=(0.75,), std=(0.25,))


def rendered(ink: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.uint8]:
    """A picture [32, 32] of one digit, given as ink [8, 8] from 0 to 16."""
    paper, pen = random.uniform(215, 245), random.uniform(20, 60)
    drawn = np.kron(ink / 16.0, np.ones((3, 3)))
    top, left = 4 + random.integers(-1, 2, 2)
    share = np.zeros((32, 32))
    share[top : top + 24, left : left + 24] = drawn
    levels = paper + (pen - paper) * share + random.normal(0.0, 6.0, share.shape)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def train() -> dict[str, Any]:
    """Fits the network and describes the bundle."""
    data = load_digits()
    random = np.random.default_rng(0)
    pictures = [rendered(ink, random) for ink in data.images]
    X_train, X_test, y_train, y_test = train_test_split(
        pictures, data.target, test_size=0.3, stratify=data.target, random_state=0
    )
    network = MLPClassifier((128,), alpha=0.1, max_iter=400, random_state=0)
    network.fit(image_rows(SPEC, X_train), y_train)
    return {
        "pipeline": network,
        "X": X_train,
        "y": y_train,
        "held_out": (X_test, y_test),
        "image": SPEC,
        "name": "digits",
        "version": "1.0.0",
        "description": "The digit in a picture of a single one, written with a dark pen on light paper.",
        "intended_use": "A demonstration of edgeml with pictures.",
        "limits": "Digits of 43 people, rendered at 32 x 32 pixels; one digit near the middle of each picture.",
    }
