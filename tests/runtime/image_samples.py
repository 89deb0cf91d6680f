"""Small pictures, good ones and hostile ones, and a bundle that takes pictures."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

import edgeml
from edgeml import ImageSpec, image_rows

SPEC = ImageSpec(width=8, height=6, channels="rgb", resize="area", scale=1 / 255, max_pixels=40_000)


def picture(kind, random, size=(24, 32)):
    """A picture with a red, green or blue disk on grey."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    levels = random.normal(120, 10, (height, width, 3))
    at = random.uniform(0.35, 0.65, 2) * size
    disk = np.hypot(y - at[0], x - at[1]) < 0.25 * height
    levels[disk] += np.eye(3)[kind] * 110
    return np.clip(levels, 0, 255).astype(np.uint8)


def file_of(levels, kind="PNG", **options):
    """A picture as a file."""
    stream = io.BytesIO()
    (levels if isinstance(levels, Image.Image) else Image.fromarray(levels)).save(stream, kind, **options)
    return stream.getvalue()


def data(n=150):
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, n)
    return [picture(kind, random) for kind in kinds], np.array(["red", "green", "blue"])[kinds]


@cache
def disks():
    """A bundle that tells the colour of a disk."""
    pictures, colours = data()
    model = LogisticRegression(max_iter=300).fit(image_rows(SPEC, pictures[:100]), colours[:100])
    return edgeml.build(
        model,
        pictures[:100],
        colours[:100],
        held_out=(pictures[100:], colours[100:]),
        image=SPEC,
        name="disks",
        version="1",
        rules=[{"id": "dark", "when": "`image.brightness` < 20", "then": {"label": "blue"}}],
    )


def png_header(width, height):
    """A PNG file of that size, whose pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def jpeg_header(width, height):
    """A JPEG file of that size, whose pixels are missing."""
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def jpeg_of_scans(n, levels=None):
    """A progressive JPEG whose last scan stands there n times in all."""
    file = file_of(np.zeros((16, 16), np.uint8) if levels is None else levels, "JPEG", progressive=True)
    at = file.rindex(b"\xff\xda")
    return file[:at] + file[at:-2] * (n - file[:at].count(b"\xff\xda")) + b"\xff\xd9"


def png_chunk(name, data=b""):
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(depth, colour, row, *chunks):
    """A PNG file of one row, whose bytes are given, with chunks before its pixels."""
    width = len(row) * 8 // depth // {0: 1, 2: 3}[colour]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"\x00" + row))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + png_chunk(b"IEND")
