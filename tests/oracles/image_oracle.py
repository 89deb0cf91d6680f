"""Pictures the slow and obvious way: exact shares, one pixel after the other."""

from fractions import Fraction

import numpy as np


def shares(method, source, target, i):
    """Source pixel -> its share in target pixel i."""
    scale = Fraction(source, target)
    centre = (i + Fraction(1, 2)) * scale
    if method == "nearest":
        return {int(centre): Fraction(1)}
    found = {}
    for x in range(source):
        if method == "area":
            share = min((i + 1) * scale, x + 1) - max(i * scale, x)
        else:
            reach = max(scale, 1) if method == "antialias" else 1
            share = 1 - abs(x + Fraction(1, 2) - centre) / reach
        if share > 0:
            found[x] = share
    if method == "bilinear" and centre < Fraction(1, 2):
        return {0: Fraction(1)}
    if method == "bilinear" and centre > source - Fraction(1, 2):
        return {source - 1: Fraction(1)}
    total = sum(found.values())
    return {x: share / total for x, share in found.items()}


def resampled(levels, width, height, method):
    """Levels [h, w, c] -> exact means, float64 [height, width, c]."""
    down, across = np.zeros((height, levels.shape[0])), np.zeros((width, levels.shape[1]))
    for matrix, source, target in ((down, levels.shape[0], height), (across, levels.shape[1], width)):
        for i in range(target):
            for x, share in shares(method, source, target, i).items():
                matrix[i, x] = float(share)
    return np.einsum("yh,xw,hwc->yxc", down, across, levels.astype(np.float64))


def luma(levels):
    """ITU-R BT.601, rounded."""
    if levels.shape[2] == 1:
        return levels[..., 0].astype(np.int64)
    red, green, blue = (levels[..., at].astype(np.int64) for at in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def statistics(levels):
    """Brightness, contrast, sharpness and the shares of the bins of levels [h, w, c] in red, green, blue."""
    grey = luma(levels).astype(np.float64)
    inner = grey[1:-1, 1:-1]
    bend = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner if inner.size else inner
    sharpness = bend.var() if bend.size else 0.0
    bins = [(levels[..., at] // 64 == b).mean() for at in range(1 if levels.shape[2] == 1 else 3) for b in range(4)]
    return np.array([grey.mean(), grey.std(), sharpness, *bins])
