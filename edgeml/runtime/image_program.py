"""From pictures to rows of a model's input, as a bundle's ``image.json`` says; the face of ``edgeml.kernels.images``.

It stands where other bundles have their feature program: the reader puts finished pictures and their statistics into a
Frame, and the encoder fills the model's tensor from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import BuildError, BundleError
from edgeml.kernels.images import METHODS, ImageEncoder, ImageProgram
from edgeml.runtime.image_spec import MEMBER, ImageSpec
from edgeml.runtime.picture import PictureDecoder
from edgeml.runtime.picture_header import Refusal
from edgeml.runtime.schema import Schema

CHANNELS = (1, 3, 4)
MAX_SIDE = 65535


class PictureProgram:
    """From pictures to the model's input ``dense``.

    Args:
        spec: What the model sees of a picture.
        door: ``float32`` or ``float64``: type of the model's input.

    Attributes:
        spec: What the model sees of a picture.
        dtype: The model's door.
        strings: None; there is nothing beside ``dense``.
        n_outputs: Columns of ``dense``.
        picture_bytes: Bytes of a finished picture.
        n_numbers: Numbers that are derived from a picture.
    """

    strings: tuple[str, ...] = ()

    def __init__(self, spec: ImageSpec, door: str = "float32") -> None:
        self.spec = spec
        self.dtype = np.dtype(door)
        self._kernel = ImageProgram(
            spec.table(),
            width=spec.width,
            height=spec.height,
            reversed=spec.channels == "bgr",
            method=METHODS.index(spec.resize),
            pad=spec.padding(),
            planar=spec.layout == "chw",
            double_door=door == "float64",
        )
        self.n_outputs = self._kernel.n_outputs
        self.picture_bytes = self._kernel.picture_bytes
        self.n_numbers = 2 + self._kernel.n_statistics

    @classmethod
    def from_member(cls, document: Mapping[str, Any], schema: Schema) -> PictureProgram:
        """Makes the program from a bundle's member.

        Args:
            document: ``image.json``.
            schema: The bundle's schema.

        Raises:
            BundleError: They do not fit each other.
        """
        spec, door = ImageSpec.from_document(document)
        wanted = [(feature.name, feature.kind) for feature in spec.schema.features]
        if [(feature.name, feature.kind) for feature in schema.features] != wanted:
            raise BundleError(f"bundle member {MEMBER}: it gives other features than the schema has")
        return cls(spec, door)

    def encoder(self, product: object = None) -> ImageEncoder:
        """What fills rows in one thread.

        Args:
            product: Must be None; only texts go through a sparse product.

        Raises:
            BundleError: It is not.
        """
        if product is not None:
            raise BundleError("bundle member kernel.json: its sparse product has no texts to work on")
        return ImageEncoder(self._kernel)

    def put(
        self, levels: NDArray[np.uint8], picture: NDArray[np.uint8], numbers: NDArray[np.float64] | None = None
    ) -> Refusal | None:
        """Finishes one picture.

        Args:
            levels: uint8 [height, width] or [height, width, channels]; red, green, blue, alpha.
            picture: uint8 [picture_bytes]: takes what the model sees.
            numbers: float64 [n_numbers]: takes what is derived from it; None counts nothing.

        Returns:
            Why it cannot be taken; None where all is well.
        """
        if levels.ndim not in (2, 3) or (levels.ndim == 3 and levels.shape[2] not in CHANNELS):
            return Refusal("wrong_shape", f"shape {list(levels.shape)}")
        height, width = levels.shape[:2]
        if not 0 < height <= MAX_SIDE or not 0 < width <= MAX_SIDE or height * width > self.spec.max_pixels:
            return Refusal("too_many_pixels" if height and width else "wrong_shape", f"{width} x {height} pixels")
        placed = self.spec.placed(width, height)
        if placed is None:
            return Refusal("too_small", f"{width} x {height} pixels")
        if numbers is None:
            self._kernel.put(np.ascontiguousarray(levels), *placed, picture)
            return None
        numbers[0], numbers[1] = width, height
        self._kernel.put(np.ascontiguousarray(levels), *placed, picture, numbers[2:])
        return None

    def rows(self, pictures: Iterable[bytes | NDArray[np.uint8]]) -> NDArray[Any]:
        """Rows of ``dense`` for pictures, as a box makes them.

        Args:
            pictures: PNG or JPEG files, or uint8 arrays [height, width(, channels)].

        Returns:
            [n, n_outputs] of the door's type.

        Raises:
            BuildError: One cannot be taken; says which and why.
            RequirementError: Pillow is not installed.
        """
        decoder: PictureDecoder | None = None
        table = self.spec.table().astype(self.dtype)
        rows, finished = [], np.empty(self.picture_bytes, dtype=np.uint8)
        for number, picture in enumerate(pictures):
            levels: NDArray[np.uint8] | Refusal
            if isinstance(picture, bytes):
                decoder = decoder or PictureDecoder(max_pixels=self.spec.max_pixels, exif=self.spec.exif)
                levels = decoder(picture)
            elif isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
                levels = picture
            else:
                what = type(picture).__name__
                raise BuildError(f"picture {number}: wrong type: {what}; give a file's bytes or a uint8 array")
            refusal = levels if isinstance(levels, Refusal) else self.put(levels, finished)
            if refusal is not None:
                raise BuildError(f"picture {number}: {self.spec.complaint(refusal.code, refusal.got)}")
            shaped = finished.reshape(self.spec.height, self.spec.width, -1)
            row = np.stack([of[shaped[..., at]] for at, of in enumerate(table)], axis=0 if self._planar else -1)
            rows.append(row.reshape(-1))
        return np.stack(rows) if rows else np.empty((0, self.n_outputs), dtype=self.dtype)

    @property
    def _planar(self) -> bool:
        return self.spec.layout == "chw"


def image_rows(
    spec: ImageSpec, pictures: Iterable[bytes | NDArray[np.uint8]], *, dtype: str = "float64"
) -> NDArray[Any]:
    """What a model is trained on: the very numbers that a box will give it for these pictures.

    Args:
        spec: What the model sees of a picture.
        pictures: PNG or JPEG files, or uint8 arrays [height, width(, channels)] of red, green, blue, alpha.
        dtype: ``float64`` or ``float32``.

    Returns:
        [n, height * width * channels], in the order of ``spec.layout``.

    Raises:
        BuildError: A picture cannot be taken; says which and why.
        RequirementError: Pillow is not installed.
    """
    return PictureProgram(spec, dtype).rows(pictures)
