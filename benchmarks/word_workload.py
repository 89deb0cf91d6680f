"""W3: 200 whole words looked for in documents of about 440 characters. Standard library only: every peer reads it.

1. Documents are drawn from 4,000 made-up words, the frequent ones short, as in a language.
2. 190 of the words looked for are in no document, and ten are rare words of the language, so that about every second
   document has one; documents without one are the common case of a filter.
3. The answer to a document is the number of the first word that it has, -1 where it has none, as of a rule list.
"""

from __future__ import annotations

import random
from functools import cache

SEED = 20240917
N_WORDS = 200
# What the rules are looked at with besides: how the time grows with their number.
SIZES = (10, 100, 1_000)
N_DOCUMENTS = 256
LENGTH = 440
FEATURE = "document"
_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
_WEIGHTS = [12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0.2, 0.2, 0.1, 0.1]


@cache
def language() -> tuple[str, ...]:
    """Different words of 2 to 12 letters, the most frequent first; documents are made of the first 4,000."""
    draw = random.Random(SEED)
    words: dict[str, None] = {}
    while len(words) < 5_000:
        length = min(12, 2 + int(draw.expovariate(0.25) + len(words) / 1_500))
        words["".join(draw.choices(_LETTERS, _WEIGHTS, k=length))] = None
    return tuple(words)


@cache
def words(count: int = N_WORDS) -> tuple[str, ...]:
    """The words looked for, at least ten; all but the first ten are in no document."""
    rare = random.Random(SEED + 1).sample(language()[100:4_000], 10)
    return (*rare, *language()[4_000 : 4_000 + count - len(rare)])


@cache
def documents() -> tuple[str, ...]:
    """The documents asked, one after the other."""
    draw = random.Random(SEED + 2)
    known = language()[:4_000]
    weights = [1 / (rank + 10) for rank in range(len(known))]
    made = []
    for number in range(N_DOCUMENTS):
        text = ""
        while len(text) < LENGTH:
            word = draw.choice(words()[:10]) if number % 2 and draw.random() < 0.02 else draw.choices(known, weights)[0]
            text += word.capitalize() if not text or text[-2] == "." else word
            text += draw.choice([" "] * 8 + [", ", ". "])
        made.append(text[:LENGTH].rpartition(" ")[0])
    return tuple(made)
