"""ImageProgram and ImageEncoder: from decoded pictures to what a model takes.

1. ``ImageProgram.put`` cuts a region out of a picture, resamples it into a box of the target, pads what is left,
   brings the channels to the target's, and counts statistics. It does so in whole numbers: the same picture gives the
   same levels on every processor.
2. ``ImageEncoder`` turns finished pictures, which stand in a Frame (``ext/frame.h``), into rows of the model's tensor:
   what each level becomes stands in the program's table; the order is HWC, or CHW where the program is planar.
3. Both run without the GIL. A program may be shared by threads, an encoder belongs to one.

Levels equal those of, within 1: ``nearest`` Pillow's NEAREST, ``bilinear`` OpenCV's INTER_LINEAR, ``area`` OpenCV's
INTER_AREA, ``antialias`` Pillow's BILINEAR. All take the centres of pixels at halves.
"""

from typing import Any, Final

METHODS: Final[tuple[str, ...]]
"""Names of the methods; the position is the method's number."""
MAX_SIDE: Final = 65535
"""Longest side of a picture that is given, in pixels."""
MAX_TARGET_SIDE: Final = 4096
"""Longest side of what a model sees, in pixels."""
HISTOGRAM_BINS: Final = 4
"""Bins of a channel's histogram, all equally wide."""

class ImageProgram:
    """What happens to a picture. Immutable; may be shared by threads.

    Args:
        table: float64 [channels, 256]: what each level of each channel becomes; 1 channel (grey), 3, or 4 with alpha.
        width: Of what the model sees, in pixels.
        height: Likewise.
        reversed: Whether the channels are blue, green, red instead of red, green, blue.
        method: Number of the method of resampling.
        pad: Level of each channel where nothing of the picture is.
        planar: Whether rows are [channels, height, width], instead of [height, width, channels].
        double_door: Whether rows are float64, instead of float32.

    Raises:
        ValueError: A size or a number is out of range.
    """

    def __init__(
        self,
        table: Any,
        *,
        width: int,
        height: int,
        reversed: bool,
        method: int,
        pad: bytes,
        planar: bool,
        double_door: bool,
    ) -> None: ...
    @property
    def picture_bytes(self) -> int:
        """Bytes of a finished picture: width * height * channels."""

    @property
    def n_outputs(self) -> int:
        """Numbers in a row of the model's tensor."""

    @property
    def double_door(self) -> bool:
        """Whether rows are float64."""

    @property
    def n_statistics(self) -> int:
        """Numbers that ``put`` counts."""

    def put(
        self,
        source: Any,
        region: tuple[int, int, int, int],
        box: tuple[int, int, int, int],
        out: Any,
        statistics: Any = None,
    ) -> None:
        """Makes a finished picture.

        Args:
            source: uint8 [height, width] or [height, width, 1, 3 or 4], C-contiguous; red, green, blue, alpha.
            region: Left, top, width, height of what is taken, in pixels of the source.
            box: Left, top, width, height of where it goes, in pixels of the target.
            out: Writable buffer of ``picture_bytes`` bytes: [height, width, channels].
            statistics: float64 [n_statistics]: takes mean and standard deviation of luma (ITU-R BT.601), variance of
                its Laplacian, and for each channel but alpha, red first, the shares of its levels in four equal bins;
                all over the box. None counts nothing.

        Raises:
            ValueError: A shape or a type does not fit, or region or box reach outside.
        """

class ImageEncoder:
    """Turns finished pictures into rows. Belongs to one thread at a time.

    Args:
        program: The program.
    """

    def __init__(self, program: ImageProgram) -> None: ...
    @property
    def refused(self) -> list[int]:
        """Always empty: any picture has a row."""

    def bind(self, out: Any) -> None:
        """Sets the output of ``encode_bound`` and keeps it alive.

        Args:
            out: Writable, C-contiguous, [1, n_outputs] of the door's type.

        Raises:
            ValueError: It is of another type or shape.
        """

    def encode_bound(self, capsule: Any) -> int:
        """Encodes the picture of row 0 of a frame into the bound output; returns 0.

        Raises:
            ValueError: Nothing is bound, or the frame holds no such picture.
        """

    def encode(self, capsule: Any, out: Any, rows: Any = None) -> int:
        """Encodes the pictures of rows of a frame; returns 0.

        Args:
            capsule: A frame's.
            out: Writable, C-contiguous, [n, n_outputs] of the door's type.
            rows: int64 [n]: rows wanted; all where None.

        Raises:
            ValueError: A shape, a type or a row does not fit, or the frame holds no pictures of the program's size.
        """
