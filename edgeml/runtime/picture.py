"""Encoded pictures to levels, and back. The only place that knows Pillow, which does the coding.

1. Only PNG and JPEG, told by their first bytes. The header is read (``picture_header``) before Pillow sees anything, so
   a small file that claims a huge picture costs nothing.
2. A file that ends too early is refused, and so is whatever else Pillow cannot decode.
3. Of an animated PNG the first picture counts. 16-bit greys keep their upper 8 bits. Palettes become colours, CMYK
   becomes red, green, blue as Pillow converts it, without a colour profile. The one level or colour that a PNG without
   alpha calls transparent (tRNS) becomes alpha 0.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import RequirementError
from edgeml.runtime.picture_header import Refusal, picture_size

ORIENTATION = 0x0112
FORMATS = ("PNG", "JPEG")


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
        size = self.size(data)
        return size if isinstance(size, Refusal) else self.levels(data, size)

    def size(self, data: bytes) -> tuple[int, int] | Refusal:
        """Width and height of a picture that may be decoded, by its header alone.

        Args:
            data: The file's bytes.
        """
        size = picture_size(data)
        if not isinstance(size, Refusal) and size[0] * size[1] > self._max_pixels:
            return Refusal("too_many_pixels", f"{size[0]} x {size[1]} pixels")
        return size

    def levels(self, data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | Refusal:
        """Decodes one picture.

        Args:
            data: The file's bytes.
            size: What ``size`` gave for them.

        Returns:
            As a call of the decoder.

        Raises:
            ImportError: Pillow cannot be loaded as a whole. That, like an error of the operating system or a lack of
                memory, says nothing about the picture.
        """
        try:
            with self._image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.size != size:
                    return Refusal("not_a_picture", "a file whose header says two sizes")
                opened.load()
                return _levels(self._turned(opened) if self._exif else opened, depth=data[24])
        except Exception as error:  # Pillow and its decoders raise whatever they meet
            if _of_the_system(error):
                raise
            # Pillow's own words for this one hold the address of the stream.
            unknown = isinstance(error, self._image.UnidentifiedImageError)
            why = "its header cannot be read" if unknown else str(error)[:80]
            return Refusal("not_a_picture", f"a file that cannot be decoded: {why}")

    def _turned(self, opened: Any) -> Any:
        try:
            orientation = opened.getexif().get(ORIENTATION, 1)
        except Exception as error:  # a damaged EXIF block says nothing
            if _of_the_system(error):
                raise
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


def _levels(decoded: Any, *, depth: int) -> NDArray[np.uint8]:
    """The levels of what Pillow decoded; ``depth`` is a PNG's bits for each number."""
    mode, clear = decoded.mode, decoded.info.get("transparency")
    if mode.startswith("I"):
        raw = np.asarray(decoded)
        upper = np.empty(raw.shape, dtype=np.uint8)
        np.right_shift(raw, 8, out=upper, casting="unsafe")
        return upper if clear is None else _with_alpha(upper, raw != clear)
    if mode in ("LA", "La", "PA") or (mode == "P" and clear is not None):
        decoded = decoded.convert("RGBA")
    elif mode == "1":
        decoded = decoded.convert("L")
    elif mode not in ("L", "RGB", "RGBA"):
        decoded = decoded.convert("RGB")
    levels: NDArray[np.uint8] = np.asarray(decoded)
    if clear is None or mode not in ("1", "L", "RGB"):
        return levels
    # Pillow gives the numbers as they stand in the file (of one bit: as a level), and the levels as bytes.
    most = (1 << min(depth, 8)) - 1
    if mode == "RGB":
        meant = np.array(clear) >> 8 if depth == 16 else np.array(clear) & most
        return _with_alpha(levels, (levels != meant).any(axis=-1))
    return _with_alpha(levels, levels != (clear if mode == "1" else (clear & most) * 255 // most))


def _with_alpha(levels: NDArray[np.uint8], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Levels [h, w] or [h, w, 3] as [h, w, 4]: opaque where they are seen."""
    made = np.empty((*levels.shape[:2], 4), dtype=np.uint8)
    made[..., :3] = levels if levels.ndim == 3 else levels[..., None]
    np.multiply(seen, 255, out=made[..., 3], casting="unsafe")
    return made


def _of_the_system(error: Exception) -> bool:
    """Whether an error is no fault of the picture. Pillow's own OSErrors have no number."""
    return isinstance(error, MemoryError | ImportError) or (isinstance(error, OSError) and error.errno is not None)


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
    """Pillow's module ``Image``, with all that decoding needs: a confined process opens no files later.

    ``Image.open`` imports five plugins at its first call, EXIF that of TIFF, and a JPEG of several pictures one more.
    """
    try:
        from PIL import Image
        from PIL import JpegImagePlugin as _jpeg  # noqa: F401
        from PIL import MpoImagePlugin as _mpo  # noqa: F401
        from PIL import PngImagePlugin as _png  # noqa: F401
        from PIL import TiffImagePlugin as _tiff  # noqa: F401
    except ImportError as error:
        raise RequirementError(
            "pictures are decoded by Pillow, which is not installed here; install it: pip install 'edgeml[images]'"
        ) from error
    Image.preinit()
    # Of damaged EXIF and the like, in words of the file's own numbers: Python would keep each of them for good.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(Image|\w+ImagePlugin)$")
    return Image
