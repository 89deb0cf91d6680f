"""Records of pictures for ``make demo``, and what a camera does to them when its lamp fails."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeml.builder.image_form import ImageForm, picture_files, spec_of
from edgeml.builder.schema_inference import infer_schema
from edgeml.runtime.image_spec import MAX_PIXELS
from edgeml.runtime.picture import PictureDecoder, encoded
from edgeml.runtime.picture_header import Refusal

LIGHT = 0.45


def records_of(arguments: dict[str, Any], X: Any) -> list[dict[str, Any]]:
    """Rows or pictures as the records of a bundle.

    Args:
        arguments: What the training script returned.
        X: Rows or pictures like its X.
    """
    if arguments.get("image") is None:
        return infer_schema(arguments["X"]).records(X)
    spec = spec_of(arguments["image"])
    return ImageForm(spec, limit=1).records(picture_files(X, spec, what="X"))


def darkened(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same pictures with less than half of the light."""
    return [{name: _darker(picture) for name, picture in record.items()} for record in records]


def _darker(picture: str) -> str:
    levels = PictureDecoder(max_pixels=MAX_PIXELS, exif=False)(base64.b64decode(picture))
    if isinstance(levels, Refusal):
        raise SystemExit(f"a picture of the demonstration cannot be decoded: {levels.got}")
    return base64.b64encode(encoded((levels * LIGHT).astype(np.uint8))).decode()
