"""Which piece of clothing is in this picture? A small convolutional network, as an ONNX model.

Data: Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, https://github.com/zalandoresearch/fashion-mnist, MIT licence),
28 x 28 grey levels, from Debian's package ``dataset-fashion-mnist``. The filters of the convolution are the means of
clusters of patches, and what is pooled of them is told apart by a linear model: A. Coates, H. Lee and A. Y. Ng, "An
Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011. So no framework for training is
needed.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from edgeml import ImageSpec, image_rows
from edgeml.errors import BuildError

DATA = Path("/usr/share/datasets/fashion-mnist")
LABELS = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
SPEC = ImageSpec(width=28, height=28, channels="grey", scale=1 / 255, layout="chw")
N_TRAIN, N_HELD_OUT = 5_000, 1_000
FILTERS, SIDE, POOL = 32, 5, 6

Floats = NDArray[np.float32]


def read(name: str, header: int) -> NDArray[np.uint8]:
    """The bytes of one file of the data set, behind its header."""
    path = DATA / f"{name}-ubyte.gz"
    if not path.exists():
        raise BuildError(f"{path} is missing; on Debian or Ubuntu: apt-get install dataset-fashion-mnist")
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)


def part(name: str, n: int) -> tuple[list[NDArray[np.uint8]], NDArray[Any]]:
    """The first n pictures of a part of the data set, and their labels."""
    pictures = read(f"{name}-images-idx3", 16).reshape(-1, 28, 28)[:n]
    return list(pictures), np.array(LABELS)[read(f"{name}-labels-idx1", 8)[:n]]


def pooled(pictures: Floats, filters: Floats, bias: Floats) -> Floats:
    """What the convolution gives: [n, FILTERS * 16], means over 4 x 4 fields."""
    parts = []
    for block in np.array_split(pictures, max(1, len(pictures) // 500)):
        windows = sliding_window_view(block, (SIDE, SIDE), axis=(1, 2)).reshape(len(block), 24, 24, -1)
        lit = np.maximum(windows @ filters.T + bias, 0)
        fields = lit.reshape(len(block), 4, POOL, 4, POOL, FILTERS).mean(axis=(2, 4))
        parts.append(fields.transpose(0, 3, 1, 2).reshape(len(block), -1))
    return np.concatenate(parts)


def network(filters: Floats, bias: Floats, weights: Floats, offset: Floats) -> bytes:
    """The same as an ONNX model, with the linear model behind it."""
    constants = {"filters": filters.reshape(FILTERS, 1, SIDE, SIDE), "bias": bias, "weights": weights, "offset": offset}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "filters", "bias"], ["seen"]),
            helper.make_node("Relu", ["seen"], ["lit"]),
            helper.make_node("AveragePool", ["lit"], ["fields"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
            helper.make_node("Flatten", ["fields"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "offset"], ["logits"], transB=1),
        ],
        "fashion",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(LABELS)])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


def train() -> dict[str, Any]:
    """Fits filters and linear model, writes the network and describes the bundle."""
    X, y = part("train", N_TRAIN)
    held_out = part("t10k", N_HELD_OUT)
    pictures = image_rows(SPEC, X, dtype="float32").reshape(-1, 28, 28)
    random = np.random.default_rng(0)
    windows = sliding_window_view(pictures[:1000], (SIDE, SIDE), axis=(1, 2)).reshape(-1, SIDE * SIDE)
    patches = windows[random.permutation(len(windows))[:20_000]]
    patches = patches[patches.std(axis=1) > 0.05]
    patches = (patches - patches.mean(axis=1, keepdims=True)) / patches.std(axis=1, keepdims=True)
    means = MiniBatchKMeans(FILTERS, n_init=3, random_state=0).fit(patches).cluster_centers_.astype(np.float32)
    filters = means - means.mean(axis=1, keepdims=True)
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    bias = np.full(FILTERS, -0.1, dtype=np.float32)
    scaler = StandardScaler()
    fields = scaler.fit_transform(pooled(pictures, filters, bias))
    linear = LogisticRegression(C=0.01, tol=1e-3, max_iter=500).fit(fields, y)
    # The scaler goes into the linear model; its labels are in their own order.
    weights = linear.coef_ / scaler.scale_
    offset = linear.intercept_ - weights @ scaler.mean_
    return {
        "pipeline": network(filters, bias, weights, offset),
        "X": X,
        "y": y,
        "held_out": held_out,
        "image": SPEC,
        "labels": linear.classes_.tolist(),
        "name": "fashion",
        "version": "1.0.0",
        "description": "The piece of clothing in a picture of a single one on black.",
        "intended_use": "A demonstration of edgeml with a convolutional network.",
        "limits": "Pictures of one shop's catalogue: 28 x 28 grey levels, light on black.",
    }
