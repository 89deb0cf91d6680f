"""Encoded pictures to levels, and back. The only place that knows Pillow, which does the coding.

1. Only PNG and JPEG, told by their first bytes. Size is read from the header here, before Pillow sees anything, so a
   small file that claims a huge picture costs nothing.
2. A file that ends too early is refused, and so is whatever else Pillow cannot decode.
3. Of an animated PNG the first picture counts. 16-bit greys keep their upper 8 bits. Palettes become colours, CMYK
   becomes red, green, blue as Pillow converts it, without a colour profile.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import RequirementError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
ORIENTATION = 0x0112
FORMATS = ("PNG", "JPEG")


class Refusal(NamedTuple):
    """Why there is no picture.

    Attributes:
        code: As in a violation.
        got: What came instead.
    """

    code: str
    got: str


class PictureDecoder:
    """Decodes pictures. Any thread may call it.

    Args:
        max_pixels: Pictures with more pixels are refused.
        exif: Whether they are turned as their EXIF orientation says.

    Raises:
        RequirementError: Pillow is not installed.
    """

    def __init__(self, *, max_pixels: int, exif: bool) -> None:
        self._image = _pillow()
        self._max_pixels = max_pixels
        self._exif = exif

    def __call__(self, data: bytes) -> NDArray[np.uint8] | Refusal:
        """Decodes one picture.

        Args:
            data: The file's bytes.

        Returns:
            uint8 [height, width] (grey), [height, width, 3] (red, green, blue) or [height, width, 4] (with alpha); or
            why not.
        """
        size = picture_size(data)
        if isinstance(size, Refusal):
            return size
        if size[0] * size[1] > self._max_pixels:
            return Refusal("too_many_pixels", f"{size[0]} x {size[1]} pixels")
        try:
            with self._image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.size != size:
                    return Refusal("not_a_picture", "a file whose header says two sizes")
                opened.load()
                return self._levels(self._turned(opened) if self._exif else opened)
        except MemoryError:
            raise
        except Exception as error:  # Pillow and its decoders raise whatever they meet
            return Refusal("not_a_picture", f"a file that cannot be decoded: {str(error)[:80]}")

    def _turned(self, opened: Any) -> Any:
        try:
            orientation = opened.getexif().get(ORIENTATION, 1)
        except Exception:  # a damaged EXIF block says nothing
            orientation = 1
        how = {
            2: "FLIP_LEFT_RIGHT",
            3: "ROTATE_180",
            4: "FLIP_TOP_BOTTOM",
            5: "TRANSPOSE",
            6: "ROTATE_270",
            7: "TRANSVERSE",
            8: "ROTATE_90",
        }.get(orientation)
        return opened if how is None else opened.transpose(getattr(self._image.Transpose, how))

    def _levels(self, decoded: Any) -> NDArray[np.uint8] | Refusal:
        mode = decoded.mode
        if mode.startswith("I"):
            return (np.asarray(decoded).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        if mode == "1":
            decoded = decoded.convert("L")
        elif mode in ("LA", "La", "PA") or (mode == "P" and "transparency" in decoded.info):
            decoded = decoded.convert("RGBA")
        elif mode not in ("L", "RGB", "RGBA"):
            decoded = decoded.convert("RGB")
        return np.asarray(decoded)


def encoded(levels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """A picture as a file.

    Args:
        levels: uint8 [height, width] or [height, width, 1, 3 or 4]; red, green, blue, alpha.
        kind: ``PNG``, which loses nothing, or ``JPEG``, which has no alpha.

    Raises:
        RequirementError: Pillow is not installed.
    """
    stream = io.BytesIO()
    flat = levels[..., 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels
    _pillow().fromarray(flat).save(stream, kind)
    return stream.getvalue()


def _pillow() -> Any:
    """Pillow's module ``Image``, with all that decoding needs: a confined process opens no files later."""
    try:
        from PIL import Image
        from PIL import JpegImagePlugin as _jpeg  # noqa: F401
        from PIL import PngImagePlugin as _png  # noqa: F401
    except ImportError as error:
        raise RequirementError(
            "pictures are decoded by Pillow, which is not installed here; install it: pip install 'edgeml[images]'"
        ) from error
    return Image


def picture_size(data: bytes) -> tuple[int, int] | Refusal:
    """Width and height as the header of a PNG or JPEG file says them.

    Args:
        data: The file's bytes.
    """
    if data.startswith(PNG):
        if len(data) < 24 or data[12:16] != b"IHDR":
            return Refusal("not_a_picture", "a PNG file without a header")
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data.startswith(JPEG):
        found = _jpeg_size(data)
        if found is None:
            return Refusal("not_a_picture", "a JPEG file without a frame")
        size = found
    else:
        return Refusal("not_a_picture", f"{len(data)} bytes that are neither PNG nor JPEG")
    return (
        size if 0 < size[0] and 0 < size[1] else Refusal("not_a_picture", f"a picture of {size[0]} x {size[1]} pixels")
    )


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the first start-of-frame segment (ITU-T T.81, annex B)."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # no length
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None
