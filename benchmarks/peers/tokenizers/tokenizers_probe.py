"""Hugging Face's tokenizers as the vectorizer of W2: the text cut and looked up in Rust, tf-idf with numpy.

Arguments: the folder of artifacts, where the terms and their idf are the fitted vectorizer's.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Split

from benchmarks.probes.probe import Work, serve, walk
from benchmarks.text_rows import mark

# scikit-learn's default token_pattern; this library's expressions are Unicode's without being told.
TOKEN = r"\b\w\w+\b"
UNKNOWN = "[UNK]"  # no term: those have letters, digits and _ alone


class Vectorizer:
    """What ``TfidfVectorizer(sublinear_tf=True)`` does to one document.

    Args:
        terms: The terms; the position is the column.
        idf: float64 [terms].
    """

    def __init__(self, terms: list[str], idf: np.ndarray) -> None:
        self.unknown = len(terms)
        self.idf = idf
        vocabulary = {term: column for column, term in enumerate(terms)} | {UNKNOWN: self.unknown}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
        tokenizer.normalizer = Lowercase()
        # What the pattern finds is kept, everything between is thrown away.
        tokenizer.pre_tokenizer = Split(Regex(TOKEN), behavior="removed", invert=True)
        # The call that works out no offsets; for one text, too, the fastest.
        self._encode = tokenizer.encode_batch_fast

    def row(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Gives the sparse row: columns int64 in order, and values float64."""
        ids = self._encode([text], add_special_tokens=False)[0].ids
        columns, counts = np.unique(np.array(ids, dtype=np.int64), return_counts=True)
        if len(columns) and columns[-1] == self.unknown:
            columns, counts = columns[:-1], counts[:-1]
        values = (np.log(counts) + 1.0) * self.idf[columns]
        length = np.sqrt(values @ values)
        return columns, values / length if length else values


def main() -> None:
    """Makes the vectorizer and answers the runner."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    folder = Path(sys.argv[1])
    asked = np.load(folder / "w2_asked.npy").tolist()
    row = Vectorizer(np.load(folder / "w2_terms.npy").tolist(), np.load(folder / "w2_idf.npy")).row
    works = {"w2_vectorizer": Work(walk(row, asked), lambda: [mark(*row(text)) for text in asked])}
    serve(works, {name: version(name) for name in ("tokenizers", "numpy")})


if __name__ == "__main__":
    main()
