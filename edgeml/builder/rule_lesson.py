"""``rules="learn"``: what ``edgeml.build`` and ``edgeml rules learn`` do alike, from a table to a list of rules.

1. Rules are learned on the rows that the bundle is built from, never on the held-out ones: the card's measured figures
   are of rows that neither model nor rules have seen.
2. What is right is the known answer. Where none is known, it is what the model says; then the promise is about how
   often the rules agree with the model.
3. Rules that people wrote are asked where they stand. The learned ones are grown and proven on what is left to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.arguments import plain
from edgeml.builder.rule_evidence import rule_documents
from edgeml.builder.rule_learning import Learned, LearnOptions, learn_rules
from edgeml.builder.rule_source import parse_rules
from edgeml.builder.rule_writing import Kept, document_of, read_kept, write_rules
from edgeml.errors import BuildError
from edgeml.runtime.known_labels import label_in, written_label
from edgeml.runtime.other_tiers import with_tiers
from edgeml.runtime.prediction import MODEL, Label
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Frame
from edgeml.runtime.schema import Schema

LEARN = "learn"
_KEYS = (LEARN, "keep", "rules", "lists", "define", "tables", "examples", "veto")


@dataclass(frozen=True)
class Lesson:
    """What was learned, in three forms.

    Attributes:
        learned: The figures.
        documents: The learned rules.
        document: All rules, the kept ones with them, as ``parse_rules`` takes them.
        text: The file for people.
    """

    learned: Learned
    documents: list[dict[str, Any]]
    document: dict[str, Any]
    text: str


def wants_learning(rules: Any) -> bool:
    """Whether the argument ``rules`` of ``edgeml.build`` asks for learned rules."""
    return isinstance(rules, str) and rules == LEARN or isinstance(rules, Mapping) and LEARN in rules


def learn_options(given: Mapping[str, Any]) -> LearnOptions:
    """The options that were given by name.

    Raises:
        BuildError: One is unknown or out of range.
    """
    known = [field.name for field in fields(LearnOptions)]
    for key in given:
        if key not in known:
            raise BuildError(f"rules: learn has no option {key!r}; there are {', '.join(known)}")
    options = {key: plain(value) for key, value in given.items()}
    if "veto" in options:
        veto = options["veto"]
        if not isinstance(veto, list | tuple) or not all(isinstance(word, str) for word in veto):
            raise BuildError(f"rules: veto {veto!r} must be a list of texts: features, words, conditions, ids")
        options["veto"] = tuple(veto)
    return LearnOptions(**options)


def lesson_of_build(
    rules: Any,
    schema: Schema,
    frame: Frame,
    truth: Sequence[Any] | None,
    labels: Sequence[Label] | None,
    model: NDArray[np.int64] | None,
) -> Lesson:
    """Learns as the argument ``rules`` of ``edgeml.build`` says.

    Args:
        rules: ``"learn"``, or ``{"learn": {options}}`` with, as wanted, ``"keep": path`` or ``"rules": [...]``,
            ``"lists"``, ``"define"`` and ``"veto"``.
        schema: What a record looks like.
        frame: The rows that the bundle is built from.
        truth: Their known answers, None where there are none.
        labels: The labels, None for a regression.
        model: The model's answers, as indexes into the labels.
    """
    if labels is None or not labels:
        raise BuildError("rules: only the labels of a classification can be learned; write the rules of a regression")
    asked: Mapping[str, Any] = {} if isinstance(rules, str) else rules
    given = asked.get(LEARN, {})
    if not isinstance(given, Mapping):
        raise BuildError('rules: expected {"learn": {"target": 0.95, ...}}; {} takes every default')
    options = learn_options(given)
    unknown = [key for key in asked if key not in _KEYS]
    if unknown:
        raise BuildError(f"rules: unknown key {unknown[0]!r} beside 'learn'; the keys are {', '.join(_KEYS)}")
    kept = Kept.nothing()
    if "keep" in asked:
        if len(asked) > 2:
            raise BuildError("rules: 'keep' names a file of rules; put rules, lists, definitions and vetoes into it")
        if not isinstance(asked["keep"], str | Path):
            raise BuildError(f"rules: keep {asked['keep']!r} must be the path of a YAML file")
        kept = kept_file(Path(asked["keep"]), schema, labels)
    elif set(asked) - {LEARN}:
        parse_rules({"rules": []} | {key: value for key, value in asked.items() if key != LEARN}, schema, labels)
        written = {key: value for key, value in asked.items() if key != LEARN}
        kept = Kept.of_document({"rules": []} | written)
    return lesson(schema, frame, truth, labels, options=options, model=model, kept=kept)


def kept_file(path: Path, schema: Schema, labels: Sequence[Label]) -> Kept:
    """Reads a file whose rules are kept, and checks it first.

    Raises:
        BuildError: It is no YAML file.
        RuleError: A rule in it is wrong.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise BuildError(f"{path}: rules are kept in a YAML file; write them as one")
    document, text = written_rules(path)
    parse_rules(path, schema, labels)
    kept = read_kept(text, document)
    return replace(kept, shared=_from_folder(kept.shared, path.parent.absolute()))


def _from_folder(shared: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """The same, with the files of tables named from the root: what is learned stands in no folder yet."""
    document = dict(shared or {})
    if "tables" in document:
        document["tables"] = {
            name: {**table, "file": str(folder / table["file"])} if "file" in table else table
            for name, table in document["tables"].items()
        }
    return document


def lesson(
    schema: Schema,
    frame: Frame,
    truth: Sequence[Any] | None,
    labels: Sequence[Label],
    *,
    options: LearnOptions,
    model: NDArray[np.int64] | None = None,
    kept: Kept | None = None,
) -> Lesson:
    """Learns, and puts what was learned between the rules that are kept.

    Args:
        schema: What a record looks like.
        frame: The rows.
        truth: Their known answers; None takes the model's.
        labels: The labels.
        options: How.
        model: The model's answers, as indexes into the labels; -1 where it has none.
        kept: The rules of people.

    Raises:
        BuildError: Neither known answers nor the model's are there, or an answer is no label.
    """
    kept = Kept.nothing() if kept is None else kept
    options = replace(options, veto=(*options.veto, *kept.veto))
    if truth is None and model is None:
        raise BuildError("rules: nothing to learn from: neither known answers nor a model's were given")
    codes = model if truth is None else _codes(truth, labels)
    assert codes is not None
    answered = np.zeros(frame.n_rows, dtype=bool)
    if kept.before:
        found = np.full(frame.n_rows, -1, dtype=np.int32)
        parse_rules(_asked_before(kept), schema, labels).match(frame.capsule, found)
        answered = found >= 0
    learned = learn_rules(schema, frame, codes, labels, options=options, model=model, answered=answered)
    taught_by = "the known answers" if truth is not None else "the model's answers"
    documents = rule_documents(learned, labels, options, taught_by=taught_by)
    _rename(documents, {str(rule["id"]) for rule in (*kept.before, *kept.after) if "id" in rule})
    whole = dict(kept.shared or {}) | {"rules": [*kept.before, *documents, *kept.after]}
    parse_rules(whole, schema, labels)
    return Lesson(learned, documents, whole, write_rules(documents, learned, labels, options, kept))


def _asked_before(kept: Kept) -> dict[str, Any]:
    """What is asked before the learned rules, and nothing else: not a table that stands below them, or nowhere."""
    shared = dict(kept.shared or {})
    placed = {rule["table"] for rule in kept.before if "table" in rule}
    tables = {name: table for name, table in shared.pop("tables", {}).items() if name in placed}
    # Examples are about the whole list, and are asked of it.
    shared.pop("examples", None)
    rules = [{key: value for key, value in rule.items() if key != "examples"} for rule in kept.before]
    return shared | ({"tables": tables} if tables else {}) | {"rules": rules}


def _rename(documents: Sequence[dict[str, Any]], taken: set[str]) -> None:
    """Gives other ids to learned rules that are called as a kept one: somebody has edited that, and left its id."""
    for document in documents:
        name, number = document["id"], 2
        while document["id"] in taken:
            document["id"] = f"{name}-{number}"
            number += 1


def lesson_of_records(
    predictor: Predictor,
    records: Sequence[Mapping[str, Any]],
    label: str | None,
    *,
    options: LearnOptions,
    keep: Path | None = None,
) -> tuple[Lesson, int]:
    """Learns from records, against their known labels and the answers of a bundle's model.

    Args:
        predictor: The bundle's; its own rules are not asked.
        records: The records, with their labels.
        label: The key of the known label; None learns what the model says.
        options: How.
        keep: A file whose rules are kept.

    Returns:
        What was learned, and how many records the schema refused.

    Raises:
        BuildError: The model has no labels, a label is none of them, or no record is left.
    """
    labels = predictor.labels
    if not labels:
        raise BuildError("only the labels of a classification can be learned; this bundle answers with a number")
    truth = None
    if not records:
        raise BuildError("the file holds no record, so there is nothing to learn from")
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise BuildError(f"record {row}: expected an object of features and values")
    if label is not None:
        truth = [_known_label(row, record, label, labels) for row, record in enumerate(records)]
    # Other columns are none of the rules' business.
    given = [
        {name: value for name, value in record.items() if name != label and name in predictor.schema.slots}
        for record in records
    ]
    frame = predictor.reader.new_frame(len(given))
    refused = {violation.row for violation in predictor.reader.read_many(frame, given, partial=True)}
    if not frame.n_rows:
        raise BuildError("no record fits the bundle's schema; look at the file with edgeml check")
    if truth is not None:
        truth = [answer for row, answer in enumerate(truth) if row not in refused]
    model = with_tiers(predictor)
    answers = model.predict_frame(frame)
    said_by = answers.label_index
    if said_by is not None:
        said_by = np.where(answers.tiers == MODEL, said_by, -1)
    kept = kept_file(keep, predictor.schema, labels) if keep is not None else None
    made = lesson(predictor.schema, frame, truth, labels, options=options, model=said_by, kept=kept)
    return made, len(refused)


def _known_label(row: int, record: Mapping[str, Any], label: str, labels: Sequence[Label]) -> Label:
    """The label of a record.

    Raises:
        BuildError: It has none, or one that the model does not know.
    """
    if label not in record:
        there = ", ".join(map(str, record))
        raise BuildError(f"record {row}: there is no {label!r}, which --label names; it has {there[:200]}")
    found = label_in(labels, record[label])
    if found is None:
        known = ", ".join(map(written_label, labels))
        raise BuildError(
            f"record {row}: {label} is {record[label]!r}, and the model's labels are {known[:200]}; correct it, or "
            "leave out records without a known label"
        )
    return found


def written_rules(path: Path) -> tuple[Any, str]:
    """What a YAML file says, and its text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BuildError(f"{path}: the rules cannot be read: {error}") from error
    return document_of(text), text


def _codes(truth: Sequence[Any], labels: Sequence[Label]) -> NDArray[np.int64]:
    index = {(isinstance(label, bool), label): at for at, label in enumerate(labels)}
    codes = []
    for row, answer in enumerate(truth):
        at = index.get((isinstance(answer, bool), answer))
        if at is None:
            raise BuildError(f"rules: row {row} has the answer {answer!r}, which is none of the model's labels")
        codes.append(at)
    return np.array(codes, dtype=np.int64)
