"""How a picture becomes what a model takes: size, channels, resampling, levels; the bundle's member ``image.json``.

The order of the steps: what is taken of the picture (``crop``, ``centre``, ``fit``), resampling to whole levels,
channels, then ``(level * scale - mean) / std`` for each channel, and the order of the numbers (``layout``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.errors import BuildError, BundleError
from edgeml.kernels.images import HISTOGRAM_BINS, MAX_TARGET_SIDE, METHODS
from edgeml.runtime.schema import Feature, Schema

MEMBER = "image.json"
FORMAT = 1
# Below what Pillow warns of. While it is decoded, a picture takes 3 bytes a pixel if it is grey (6 of 16 bits), 10 in
# colour, 12 with alpha, and up to 4 more where it is turned or comes as CMYK (measured with Pillow 13 at 2**24 pixels).
# So one of so many pixels takes up to 1 GiB.
MAX_PIXELS = 2**26
CHANNELS = {"grey": ("grey",), "rgb": ("red", "green", "blue"), "bgr": ("blue", "green", "red")}
CHANNELS["rgba"] = (*CHANNELS["rgb"], "alpha")

Box = tuple[int, int, int, int]


class ImageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a model sees of a picture.

    Attributes:
        width: Of the model's input, in pixels, 1 to 4096.
        height: Likewise.
        channels: ``grey`` (luma by ITU-R BT.601), ``rgb``, ``bgr`` or ``rgba``.
        resize: ``bilinear`` (levels of OpenCV's INTER_LINEAR within 1), ``area`` (OpenCV's INTER_AREA), ``antialias``
            (Pillow's and torchvision's BILINEAR) or ``nearest`` (Pillow's NEAREST).
        fit: ``stretch`` (the whole picture, sides not in proportion), ``cover`` (as much of its middle as has the
            input's proportions) or ``letterbox`` (the whole picture in proportion, the rest padded).
        placement: Where a letterboxed picture stands: ``centre`` or ``top_left``.
        pad: Level of the padding, 0 to 255; one for all channels, or one for each.
        crop: Left, top, width, height of what is taken of each picture first, in its pixels.
        centre: Share of each side that is kept, around the middle; 0.875 of ``cover`` is torchvision's
            ``Resize(256), CenterCrop(224)``.
        exif: Whether a picture is turned as its EXIF orientation says.
        max_pixels: Pictures with more pixels are refused before they are decoded.
        scale: What a level is multiplied with, such as 1 / 255.
        mean: What is taken off then; one for all channels, or one for each in the order of ``channels``.
        std: What the difference is divided by; likewise.
        layout: ``hwc`` or ``chw``: the order of the numbers.
        name: Name of the picture in a record.
    """

    width: int
    height: int
    channels: Literal["grey", "rgb", "bgr", "rgba"] = "rgb"
    resize: Literal["nearest", "bilinear", "area", "antialias"] = "bilinear"
    fit: Literal["stretch", "cover", "letterbox"] = "stretch"
    placement: Literal["centre", "top_left"] = "centre"
    pad: tuple[int, ...] = (0,)
    crop: Box | None = None
    centre: float = 1.0
    exif: bool = True
    max_pixels: int = 2**24
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["hwc", "chw"] = "hwc"
    name: str = "image"

    def __post_init__(self) -> None:
        complaint = self._complaint()
        if complaint:
            raise BuildError(f"image: {complaint}")

    def _complaint(self) -> str:
        for side, pixels in (("width", self.width), ("height", self.height)):
            if not _is_whole(pixels, 1, MAX_TARGET_SIDE):
                return f"{side} must be a whole number from 1 to {MAX_TARGET_SIDE}, not {pixels!r}"
        for field, known in (("channels", tuple(CHANNELS)), ("resize", METHODS), *_CHOICES):
            if getattr(self, field) not in known:
                return f"{field} must be one of {', '.join(known)}, not {getattr(self, field)!r}"
        for field in ("pad", "mean", "std"):
            given = getattr(self, field)
            if not isinstance(given, tuple | list) or len(given) not in (1, len(CHANNELS[self.channels])):
                return f"{field} must hold one number, or one for each of {len(CHANNELS[self.channels])} channels"
        if not all(_is_whole(level, 0, 255) for level in self.pad):
            return "pad must hold levels from 0 to 255"
        if not all(map(_is_finite, (self.scale, *self.mean, *self.std))) or any(each == 0 for each in self.std):
            return "scale, mean and std must be finite, and no std may be 0"
        if not np.abs(self.table()).max() <= np.finfo(np.float32).max:
            return "with this scale, mean and std a level is beyond float32"
        if self.crop is not None and (
            len(self.crop) != 4 or not all(_is_whole(each, at > 1, 65535) for at, each in enumerate(self.crop))
        ):
            return "crop must be left, top, width, height in pixels"
        if not _is_finite(self.centre) or not 0 < self.centre <= 1:
            return "centre must be a share above 0 and at most 1"
        if not _is_whole(self.max_pixels, 1, MAX_PIXELS):
            return f"max_pixels must be a whole number from 1 to {MAX_PIXELS}"
        return "" if isinstance(self.exif, bool) else "exif must be true or false"

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What each channel of the model's input is, in order."""
        return CHANNELS[self.channels]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes of the model's input for one picture, in the order of ``layout``."""
        depth = len(self.channel_names)
        return (depth, self.height, self.width) if self.layout == "chw" else (self.height, self.width, depth)

    @property
    def schema(self) -> Schema:
        """What a record looks like: the picture, and the numbers that are derived from it."""
        derived = [
            Feature(name=f"{self.name}.{name}", kind="number", unit=unit, description=words, derived_from=self.name)
            for name, unit, words in derived_numbers(self)
        ]
        return Schema(features=(Feature(name=self.name, kind="image"), *derived))

    def expected(self, code: str) -> str:
        """What was expected, in words, of a picture that is refused.

        Args:
            code: The refusal's.
        """
        words = {
            "not_base64": "base64 (RFC 4648) of a PNG or JPEG file, with padding and nothing around it",
            "not_a_picture": "a whole PNG or JPEG file",
            "too_many_pixels": f"a picture of at most {self.max_pixels} pixels; send a smaller one",
            "wrong_shape": "uint8 [height, width] or [height, width, 1, 3 or 4]",
            "too_small": f"a picture that holds the crop {list(self.crop or ())}",
        }
        return words.get(code) or Feature(name=self.name, kind="image").expected

    def complaint(self, code: str, got: str) -> str:
        """One line that says why a picture is refused, and what was expected.

        Args:
            code: The refusal's.
            got: What came instead.
        """
        return f"{code.replace('_', ' ')}: {got}; expected {self.expected(code)}"

    def table(self) -> NDArray[np.float64]:
        """What each level of each channel becomes: float64 [channels, 256]."""
        levels = np.arange(256, dtype=np.float64)
        depth = len(self.channel_names)
        mean, std = (np.broadcast_to(np.asarray(each, dtype=np.float64), depth) for each in (self.mean, self.std))
        with np.errstate(over="ignore"):
            made: NDArray[np.float64] = (levels * self.scale - mean[:, None]) / std[:, None]
        return made

    def padding(self) -> bytes:
        """Level of the padding in each channel."""
        return bytes(self.pad) * (len(self.channel_names) if len(self.pad) == 1 else 1)

    def placed(self, width: int, height: int) -> tuple[Box, Box] | None:
        """What is taken of a picture, and where it goes.

        Args:
            width: Of the picture, in pixels.
            height: Likewise.

        Returns:
            Left, top, width, height of the region of the picture, and of the box in the model's input; None where the
            picture does not hold the crop.
        """
        left, top = 0, 0
        if self.crop is not None:
            left, top, wide, high = self.crop
            if left + wide > width or top + high > height:
                return None
            width, height = wide, high
        kept_width, kept_height = width, height
        if self.fit == "cover":
            # The longer side is cut to the input's proportions, rounded to whole pixels.
            if width * self.height > height * self.width:
                kept_width = _ratio(height * self.width, self.height)
            else:
                kept_height = _ratio(width * self.height, self.width)
        kept_width = max(1, round(kept_width * self.centre))
        kept_height = max(1, round(kept_height * self.centre))
        region = (left + (width - kept_width) // 2, top + (height - kept_height) // 2, kept_width, kept_height)
        if self.fit != "letterbox":
            return region, (0, 0, self.width, self.height)
        wide, high = self.width, self.height
        if kept_width * self.height > kept_height * self.width:
            high = min(high, _ratio(kept_height * self.width, kept_width))
        else:
            wide = min(wide, _ratio(kept_width * self.height, kept_height))
        if self.placement == "top_left":
            return region, (0, 0, wide, high)
        return region, ((self.width - wide) // 2, (self.height - high) // 2, wide, high)

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> ImageSpec:
        """Makes it of its members, as they stand in JSON.

        Raises:
            BuildError: One is missing, unknown or does not fit.
        """
        try:
            return msgspec.convert(dict(members), cls, strict=True)
        except msgspec.ValidationError as error:
            raise BuildError(f"image: {error}") from error

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> tuple[ImageSpec, str]:
        """Reads ``image.json``.

        Returns:
            The spec and the model's door, ``float32`` or ``float64``.

        Raises:
            BundleError: Something does not fit; names the member.
        """
        parts = dict(document)
        number, door = parts.pop("format", None), parts.pop("door", None)
        if number != FORMAT:
            raise BundleError(f"bundle member {MEMBER}: format {number!r} is not {FORMAT}; update edgeml")
        if door not in ("float32", "float64"):
            raise BundleError(f"bundle member {MEMBER}: door {door!r} is neither float32 nor float64")
        try:
            return cls.from_dict(parts), door
        except BuildError as error:
            raise BundleError(f"bundle member {MEMBER}: {str(error).removeprefix('image: ')}") from error

    def to_document(self, door: str) -> dict[str, Any]:
        """``image.json``; members that hold their default are left out."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return {"format": FORMAT, "door": door} | {
            name: list(value) if isinstance(value, tuple) else value for name, value in built.items()
        }


_CHOICES = (
    ("fit", ("stretch", "cover", "letterbox")),
    ("placement", ("centre", "top_left")),
    ("layout", ("hwc", "chw")),
)


def derived_numbers(spec: ImageSpec) -> list[tuple[str, str | None, str]]:
    """Name, unit and meaning of each number that is derived from a picture, in order."""
    numbers: list[tuple[str, str | None, str]] = [
        ("width", "px", "of the picture as it came"),
        ("height", "px", "of the picture as it came"),
        ("brightness", None, "mean luma of what the model sees, 0 to 255"),
        ("contrast", None, "standard deviation of luma"),
        ("sharpness", None, "variance of the Laplacian of luma"),
    ]
    step = 256 // HISTOGRAM_BINS
    for channel in sorted(set(spec.channel_names) - {"alpha"}, key=("grey", "red", "green", "blue").index):
        for bin_ in range(HISTOGRAM_BINS):
            low, high = step * bin_, step * (bin_ + 1) - 1
            numbers.append(
                (f"{channel}_{bin_ + 1}", None, f"share of pixels with a {channel} level of {low} to {high}")
            )
    return numbers


def _ratio(numerator: int, denominator: int) -> int:
    """A quotient rounded to the nearest whole number, at least 1."""
    return max(1, (2 * numerator + denominator) // (2 * denominator))


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
