"""One camera picture on its way into a model's tensor: edgeml beside Pillow and OpenCV, each with numpy.

``python -m benchmarks.pictures`` (half a minute). A JPEG of 640 x 480 pixels becomes float32 [3, 224, 224], bilinear,
scaled and normalised with a mean and a deviation for each channel; once from the file, once from its decoded levels.
All three run in this process on one core, round by round in turn; the figure is the ratio. Before the clock starts,
what they give is compared.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_reader import ImageReader
from edgeml.runtime.image_spec import ImageSpec
from edgeml.runtime.picture import PictureDecoder
from edgeml.runtime.picture_header import Refusal

RESULTS = Path(__file__).parent / "results" / "pictures.md"
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
SIDE = 224
CALLS = 40
# Levels may differ by one; in the tensor that is 1 / 255 / 0.224.
CLOSE = 0.0176

Tensor = NDArray[np.float32]
Way = Callable[[Any], Tensor]


def camera(random: np.random.Generator) -> bytes:
    """A JPEG file of 640 x 480 pixels with the detail of a photograph."""
    levels = random.normal(128, 60, (480, 640, 3))
    soft = sum(cv2.GaussianBlur(levels, (0, 0), sigma) * sigma for sigma in (1.5, 5, 20, 60))
    soft = (soft - soft.min()) / (soft.max() - soft.min()) * 255
    stream = io.BytesIO()
    Image.fromarray(soft.astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


class Edgeml:
    """The path of a request, from where the base64 is undone: decoding, resampling, the tensor; and the statistics.

    Args:
        resize: Method of resampling.
        counted: Whether what rules and drift ask about is counted too, as in a service.
    """

    def __init__(self, resize: str, *, counted: bool) -> None:
        mean, std = (tuple(float(value) for value in each) for each in (MEAN, STD))
        spec = ImageSpec(
            width=SIDE,
            height=SIDE,
            resize=resize,
            scale=1 / 255,
            mean=mean,
            std=std,
            layout="chw",  # type: ignore[arg-type]
        )
        self._program = PictureProgram(spec)
        self._decode = PictureDecoder(max_pixels=spec.max_pixels, exif=True)
        self._reader = ImageReader(spec.schema, self._program)
        self._frame = self._reader.new_frame()
        self._reader.read(self._frame, {"image": np.zeros((5, 5), np.uint8)})
        self._encoder = self._program.encoder()
        self._row = np.empty((1, self._program.n_outputs), dtype=np.float32)
        self._encoder.bind(self._row)
        self._counted = counted

    def of_levels(self, levels: NDArray[np.uint8]) -> Tensor:
        """From decoded levels."""
        if self._counted:
            self._reader.read(self._frame, {"image": levels})
        else:
            with self._frame.pictures(1, self._program.picture_bytes) as view:
                self._program.put(levels, np.asarray(view))
        self._encoder.encode_bound(self._frame.capsule)
        return self._row.reshape(3, SIDE, SIDE)

    def of_file(self, file: bytes) -> Tensor:
        """From a file."""
        levels = self._decode(file)
        assert not isinstance(levels, Refusal)
        return self.of_levels(levels)


def _normalised(small: NDArray[np.uint8]) -> Tensor:
    return np.ascontiguousarray(((small.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1))


def pillow_levels(levels: NDArray[np.uint8]) -> Tensor:
    """Pillow resamples, numpy does the rest."""
    return _normalised(np.asarray(Image.fromarray(levels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))


def pillow_file(file: bytes) -> Tensor:
    """Pillow decodes and resamples, numpy does the rest."""
    image = Image.open(io.BytesIO(file)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _normalised(np.asarray(image))


def opencv_levels(levels: NDArray[np.uint8]) -> Tensor:
    """OpenCV resamples, numpy does the rest."""
    return _normalised(cv2.resize(levels, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))


def opencv_file(file: bytes) -> Tensor:
    """OpenCV decodes and resamples, numpy does the rest."""
    levels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(levels, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return _normalised(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))


def measured(ways: dict[str, Way], given: Any, rounds: int) -> dict[str, list[float]]:
    """Seconds a call by contestant, one figure for each round; contestants take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                way(given)
            times[name].append((time.perf_counter() - start) / CALLS)
    return times


def cpu() -> str:
    """What the processor calls itself."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return named[0].partition(":")[2].strip() if named else "an unnamed processor"


def main() -> None:
    """Measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help=f"Write {RESULTS.name}.")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    file = camera(np.random.default_rng(0))
    levels = PictureDecoder(max_pixels=2**24, exif=False)(file)
    assert not isinstance(levels, Refusal)
    plain, whole, smooth = (
        Edgeml(how, counted=c) for how, c in (("bilinear", False), ("bilinear", True), ("antialias", False))
    )
    for ours, theirs in ((plain.of_levels, opencv_levels), (smooth.of_levels, pillow_levels)):
        furthest = float(np.abs(ours(levels) - theirs(levels)).max())
        if furthest > CLOSE:
            raise SystemExit(f"{theirs.__name__} gives another tensor: {furthest:.3g} apart")
    tables = {
        "decoded levels to tensor": (
            {
                "edgeml": plain.of_levels,
                "edgeml, with statistics": whole.of_levels,
                "edgeml, antialias": smooth.of_levels,
                "OpenCV + numpy": opencv_levels,
                "Pillow + numpy": pillow_levels,
            },
            levels,
        ),
        "JPEG file to tensor": (
            {
                "edgeml": plain.of_file,
                "edgeml, with statistics": whole.of_file,
                "edgeml, antialias": smooth.of_file,
                "OpenCV + numpy": opencv_file,
                "Pillow + numpy": pillow_file,
            },
            file,
        ),
    }
    lines = [
        f"One JPEG of 640 x 480 ({len(file) // 1024} KiB) to float32 [3, {SIDE}, {SIDE}], one core of {cpu()}, Pillow "
        f"{Image.__version__}, OpenCV {cv2.__version__}; medians of {asked.rounds} interleaved rounds, in brackets "
        "the smallest and the largest ratio. OpenCV's tensor equals edgeml's, and Pillow's, which smooths before it "
        "shrinks, that of edgeml's `antialias`, within one level.",
        "",
    ]
    for title, (ways, given) in tables.items():
        times = measured(ways, given, asked.rounds)
        lines += [f"| {title} | ms | times as long as edgeml |", "|---|---|---|"]
        for name, each in times.items():
            ratios = [there / here for there, here in zip(each, times["edgeml"], strict=True)]
            spread = "" if name == "edgeml" else f" ({min(ratios):.2f}-{max(ratios):.2f})"
            lines.append(f"| {name} | {1e3 * statistics.median(each):.2f} | {statistics.median(ratios):.2f}{spread} |")
        lines.append("")
    text = "\n".join(lines)
    print(text)
    if asked.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
