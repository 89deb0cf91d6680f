"""Pictures in the place of a table: what the builder asks of training data, for records of one picture each.

1. The pipeline is asked with ``image_rows`` of the pictures: the box's own decoding, resampling and scaling. So it must
   have been fitted on them, and whatever is different between the bundle and the pipeline is behind the tensor.
2. Pictures are kept as files: arrays become PNG, which loses nothing. These files are the records, and the golden rows.
3. Parity asks about the pictures, and about what cameras do to them: darker, brighter, noisy, of one level, turned
   grey, of another size, with alpha, as JPEG.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.parity_rows import ParityRows
from edgeml.errors import BuildError
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_spec import ImageSpec
from edgeml.runtime.picture import PictureDecoder, encoded
from edgeml.runtime.picture_header import Refusal
from edgeml.runtime.schema import Schema

VARIED = 48

Record = dict[str, Any]


class ImageForm:
    """The way between pictures, records and the rows that a pipeline takes (as ``InferredSchema`` for tables).

    Args:
        spec: What the model sees of a picture.
        limit: Most pictures that parity asks about.

    Attributes:
        spec: What the model sees of a picture.
        schema: What a record looks like.
        limit: Most pictures that parity asks about.
    """

    def __init__(self, spec: ImageSpec, *, limit: int) -> None:
        self.spec = spec
        self.schema: Schema = spec.schema
        self.limit = limit
        self._program = PictureProgram(spec, "float64")

    def rows(self, pictures: Sequence[bytes]) -> NDArray[np.float64]:
        """What the pipeline is asked with: [n, d] for n files."""
        rows: NDArray[np.float64] = self._program.rows(pictures)
        return rows

    def table(self, records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """The same for records."""
        return self.rows([base64.b64decode(record[self.spec.name]) for record in records])

    def values(self, pictures: Sequence[bytes]) -> dict[str, Any]:
        """Files as the column that the reader takes."""
        return {self.spec.name: list(pictures)}

    def records(self, pictures: Sequence[bytes]) -> list[Record]:
        """Files as records."""
        return [{self.spec.name: base64.b64encode(each).decode()} for each in pictures]

    def parity_rows(self, held_out: Sequence[Record]) -> ParityRows:
        """The rows that parity asks about.

        Args:
            held_out: Records with pictures that the pipeline has not seen.
        """
        random = np.random.default_rng(0)
        decoder = PictureDecoder(max_pixels=self.spec.max_pixels, exif=self.spec.exif)
        records, kinds = list(held_out), ["held_out"] * len(held_out)
        chosen = random.permutation(len(held_out))[: min(VARIED, self.limit)]
        for at in chosen.tolist():
            levels = decoder(base64.b64decode(held_out[at][self.spec.name]))
            assert not isinstance(levels, Refusal)  # it was read before
            for kind, file in _varied(levels, random).items():
                varied = decoder(file)
                if not isinstance(varied, Refusal) and self.spec.placed(varied.shape[1], varied.shape[0]):
                    records += self.records([file])
                    kinds.append(kind)
        return ParityRows(records, kinds)


def picture_files(pictures: Any, spec: ImageSpec, *, what: str) -> NDArray[Any]:
    """Checks pictures and brings them to files.

    Args:
        pictures: A sequence of PNG or JPEG files (bytes or paths), or of uint8 arrays [height, width(, channels)].
        spec: What the model sees of a picture.
        what: What the pictures are called in messages.

    Returns:
        Array [n] of bytes objects.

    Raises:
        BuildError: They are no such sequence, or one of them cannot be taken; says which and why.
    """
    if isinstance(pictures, str | bytes | Path) or not hasattr(pictures, "__len__"):
        raise BuildError(f"{what} must be a list of pictures, got {type(pictures).__name__}")
    if not len(pictures):
        raise BuildError(f"{what} holds no pictures; give some")
    program = PictureProgram(spec)
    decoder = PictureDecoder(max_pixels=spec.max_pixels, exif=spec.exif)
    finished = np.empty(program.picture_bytes, dtype=np.uint8)
    files = np.empty(len(pictures), dtype=object)
    for number, picture in enumerate(pictures):
        where = f"{what}: picture {number}"
        try:
            file = Path(picture).read_bytes() if isinstance(picture, str | Path) else picture
        except OSError as error:
            raise BuildError(f"{where}: {picture} cannot be read: {error.strerror}") from error
        if isinstance(file, np.ndarray) and file.dtype == np.uint8:
            if file.ndim not in (2, 3) or (file.ndim == 3 and file.shape[2] not in (1, 3, 4)) or not file.size:
                raise BuildError(
                    f"{where}: shape {list(file.shape)} is not [height, width] or [height, width, 1, 3 or 4]"
                )
            file = encoded(file)
        if not isinstance(file, bytes):
            raise BuildError(f"{where}: give a file's bytes, its path or a uint8 array, not {_described(file)}")
        levels = decoder(file)
        refusal = levels if isinstance(levels, Refusal) else program.put(levels, finished)
        if refusal is not None:
            raise BuildError(f"{where}: {spec.complaint(refusal.code, refusal.got)}")
        files[number] = file
    return files


def spec_of(image: Any) -> ImageSpec:
    """The spec, from itself or from a dict of its members.

    Raises:
        BuildError: It is neither.
    """
    if isinstance(image, ImageSpec):
        return image
    if not isinstance(image, Mapping):
        raise BuildError(f"image must be an edgeml.ImageSpec, got {type(image).__name__}")
    return ImageSpec.from_dict(image)


def check_picture_width(pipeline: Any, spec: ImageSpec) -> None:
    """Checks that a pipeline takes rows as long as a picture's.

    Raises:
        BuildError: It does not.
    """
    wanted, width = int(np.prod(spec.shape)), getattr(pipeline, "n_features_in_", None)
    if width is not None and width != wanted:
        raise BuildError(
            f"the pipeline takes rows of {width} numbers, and image gives {wanted}; fit it on "
            "edgeml.image_rows(image, pictures)"
        )


def _varied(levels: NDArray[np.uint8], random: np.random.Generator) -> dict[str, bytes]:
    """Kind -> a picture made of this one."""
    wide = levels.astype(np.float64)
    colours = levels[..., :3] if levels.ndim == 3 else levels
    grey = colours if colours.ndim == 2 else colours.mean(axis=-1).astype(np.uint8)
    coloured = np.repeat(grey[..., None], 3, axis=-1)
    noise = wide + random.normal(0.0, 20.0, levels.shape)
    made = {
        "darker": wide * 0.4,
        "brighter": wide * 0.6 + 102.0,
        "noisy": noise,
        "one_level": np.full(levels.shape, float(random.integers(256))),
        "grey": grey,
        "coloured": coloured,
        "larger": np.repeat(np.repeat(levels, 2, axis=0), 2, axis=1),
        "smaller": levels[::2, ::2],
        "cut": levels[: max(1, levels.shape[0] * 3 // 4)],
        "alpha": np.dstack([coloured, np.full(grey.shape, 128, dtype=np.uint8)]),
    }
    files = {
        kind: encoded(np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))) for kind, picture in made.items()
    }
    return files | {"jpeg": encoded(np.ascontiguousarray(colours), "JPEG")}


def _described(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
