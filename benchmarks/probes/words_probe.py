"""edgeml's rule matcher in one process: a dict with a text in, the number of the rule out."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from benchmarks import word_workload
from benchmarks.probes.probe import Work, serve, walk
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Feature, Schema


def words(how: str = "", count: int = word_workload.N_WORDS) -> Work:
    """Rules, each of which looks for one word: reading the record and matching it.

    Args:
        how: What the conditions say behind the word.
        count: How many they are.
    """
    schema = Schema((Feature(word_workload.FEATURE, "text"),))
    rules = RuleList.from_document(
        {
            "rules": [
                {"when": f'{word_workload.FEATURE} contains word "{word}"{how}', "then": {"label": "found"}}
                for word in word_workload.words(count)
            ]
        },
        schema,
        ("found",),
    )
    reader = RecordReader(schema)
    frame = reader.new_frame()
    capsule, read, match = frame.capsule, reader.read, rules.match_one

    def first(record: dict[str, Any]) -> int:
        read(frame, record)
        return match(capsule)

    records = [{word_workload.FEATURE: text} for text in word_workload.documents()]
    return Work(walk(first, records), lambda: [first(record) for record in records])


def main() -> None:
    """Makes the rules and answers the runner."""
    works = {"w3_words": words(), "w3_words_folded": words(" ignoring case")}
    works |= {f"w3_words_{count}": words(count=count) for count in word_workload.SIZES}
    serve(works, {"edgeml": version("edgeml")})


if __name__ == "__main__":
    main()
