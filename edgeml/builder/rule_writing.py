"""Learned rules as a YAML file for people, and people's own rules kept in it.

1. What people wrote stays as it stands, byte for byte and in its order: rules without a learned provenance, edited and
   pinned ones, comments above them, and everything before and after the list.
2. Learned rules that nobody touched make room for those that were learned now. These stand where the last of them
   stood, else at the end of the list: what people put above is asked before them.
3. Comments above a rule belong to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from edgeml.builder.rule_fingerprint import is_learned
from edgeml.builder.rule_learning import Learned, LearnOptions
from edgeml.errors import RuleError
from edgeml.runtime.prediction import Label

# Begins the lines above the learned rules, which are written anew each time.
_OURS = "# learned: "


@dataclass(frozen=True)
class Kept:
    """A written file, cut where the learned rules go.

    Attributes:
        head: Its text before.
        tail: Its text after.
        indent: Spaces before the dash of a rule.
        before: The rules before, as they stand in the document.
        after: The rules after.
        veto: Ids, conditions, features and words that must not be used.
        shared: Named lists and definitions, which the rules may use.
    """

    head: str
    tail: str
    indent: str
    before: tuple[Mapping[str, Any], ...]
    after: tuple[Mapping[str, Any], ...]
    veto: tuple[str, ...] = ()
    shared: Mapping[str, Any] | None = None

    @classmethod
    def nothing(cls) -> Kept:
        """Where no file is kept."""
        return cls("rules:\n", "", "  ", (), ())

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Kept:
        """Rules that were handed over as objects: there is no text to keep, only rules."""
        rules = [rule for rule in document.get("rules") or () if isinstance(rule, Mapping)]
        touched = [rule for rule in rules if not is_learned(rule)]
        return cls("", "", "", tuple(touched), (), _veto(document), _shared(document))


def read_kept(text: str, document: Any) -> Kept:
    """Cuts a written file.

    Args:
        text: The file, YAML.
        document: What it says, once it was found to be good.

    Raises:
        RuleError: The list is written in one line (``[...]``), where nothing can be put in.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    items: yaml.Node | None = node
    shared: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
    rules = shared.get("rules", ()) if isinstance(document, Mapping) else document or ()
    if isinstance(node, yaml.MappingNode):
        items = next((value for key, value in node.value if key.value == "rules"), None)
    if not isinstance(items, yaml.CollectionNode) or not items.value:
        if items is not None:
            text = text[: items.start_mark.index].rstrip().removesuffix("rules:") + text[items.end_mark.index :].lstrip(
                "\n"
            )
        text = _without_ours(text.splitlines(keepends=True))
        ending = "" if text.endswith("\n") or not text else "\n"
        return Kept(f"{text}{ending}rules:\n", "", "  ", (), (), _veto(shared), _shared(shared))
    if items.flow_style:
        raise RuleError("the list of rules stands in one line; write each rule under a dash of its own to keep them")
    lines = text.splitlines(keepends=True)
    starts = [item.start_mark.line for item in items.value]
    # An item ends with its last line that says something; comments below belong to the next.
    ends = [_last_line(lines, start, end) for start, end in zip(starts, [*starts[1:], _end(items, lines)], strict=True)]
    learned = [is_learned(rule) for rule in rules]
    place = max((at for at, found in enumerate(learned) if found), default=len(learned) - 1)
    pieces = ["".join(lines[(ends[at - 1] if at else starts[0]) : ends[at]]) for at in range(len(learned))]
    head = _without_ours(lines[: starts[0]]) + "".join(
        piece for piece, found in zip(pieces[: place + 1], learned, strict=False) if not found
    )
    tail = "".join(piece for piece, found in zip(pieces[place + 1 :], learned[place + 1 :], strict=True) if not found)
    first = lines[starts[0]]
    return Kept(
        head if head.endswith("\n") or not head else head + "\n",
        tail + _without_ours(lines[ends[-1] :]),
        first[: len(first) - len(first.lstrip(" "))],
        tuple(rule for rule, found in zip(rules[: place + 1], learned, strict=False) if not found),
        tuple(rule for rule, found in zip(rules[place + 1 :], learned[place + 1 :], strict=True) if not found),
        _veto(shared),
        _shared(shared),
    )


def _without_ours(lines: Sequence[str]) -> str:
    return "".join(line for line in lines if not line.lstrip().startswith(_OURS))


def document_of(text: str) -> Any:
    """What a text in YAML says.

    Raises:
        RuleError: It is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RuleError(f"the kept rules are no YAML: {error}") from error


def _end(items: yaml.Node, lines: Sequence[str]) -> int:
    mark = items.end_mark
    return mark.line if mark.column == 0 or mark.line >= len(lines) else mark.line + 1


def _last_line(lines: Sequence[str], start: int, end: int) -> int:
    """The line behind the last of an item that is neither empty nor a comment."""
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _veto(document: Mapping[str, Any]) -> tuple[str, ...]:
    given = document.get("veto", ())
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence) or not all(isinstance(word, str) for word in given):
        raise RuleError("veto: expected a list of ids, conditions, features and words, each in quotes")
    return tuple(given)


def _shared(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("lists", "define", "tables", "examples") if key in document}


def write_rules(
    documents: Sequence[Mapping[str, Any]],
    learned: Learned,
    labels: Sequence[Label],
    options: LearnOptions,
    kept: Kept,
) -> str:
    """The whole file.

    Args:
        documents: The learned rules.
        learned: What they come from.
        labels: The labels.
        options: How they were learned.
        kept: What people wrote.
    """
    pieces = {candidate.when: candidate.lines for candidate in learned.candidates}
    proofs = {candidate.when: proof for candidate, proof in zip(learned.candidates, learned.proofs, strict=True)}
    made = [f"{_OURS}{line}" for line in _summary(documents, learned, labels, options)]
    for document in documents:
        proof = proofs[document["when"]]
        made.append(f"- id: {_scalar(document['id'])}")
        low, high = proof.interval
        figures = (
            f"{proof.right} of {proof.rows} right, {proof.right / max(1, proof.rows):.2%}; this rule alone: "
            f"{low:.1%} to {high:.1%}; answers {proof.coverage:.2%} of the records"
        )
        if proof.agreement is not None:
            figures += f"; the model agrees on {proof.agreement:.2%}"
        made.append(f"  # {figures}")
        lines = pieces[document["when"]] or (document["when"],)
        made.append("  when: >-")
        made += [f"    {line}" for line in lines]
        for key in ("then", "note", "provenance", "target", "evidence"):
            if key in document:
                made.append(f"  {key}: {_scalar(document[key])}")
    block = "".join(f"{kept.indent}{line}\n" for line in made)
    if not documents and not kept.before and not kept.after:
        block += f"{kept.indent}[]\n"
    return kept.head + block + kept.tail


def _in_comment(label: Label) -> str:
    """A label within a line of a comment, which it must not end."""
    return str(label) if str(label).isprintable() else json.dumps(label)


def _scalar(value: Any) -> str:
    """JSON is YAML, on one line: but for numbers such as 5e-05, which need a point, and what breaks a line in YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_scalar(item)}" for key, item in value.items()) + "}"
    text = json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e", 1)
    return text


def _summary(
    documents: Sequence[Mapping[str, Any]], learned: Learned, labels: Sequence[Label], options: LearnOptions
) -> list[str]:
    shown = [document for document in documents if "target" in document]
    covered = sum(document["evidence"]["coverage"] for document in shown)
    rows = len(learned.growing) + len(learned.proving)
    lines = [
        f"from {rows} records: {len(learned.growing)} to grow on, {len(learned.proving)} to prove on; "
        f"{len(learned.candidates)} rules tried, {len(shown)} proven.",
        f"promised: with {options.confidence:.0%} confidence every one of them is right on at least "
        f"{options.target:.1%} of such records. Together they answer {covered:.1%}.",
        "of each: how often it was right on records it was not grown on; score is its proven precision.",
        "edit a rule or pin it (pinned: true) and it is yours: learning again keeps it.",
    ]
    short = {labels[at]: need for at, need in sorted(learned.unproven.items()) if need}
    if short:
        told = ", ".join(f"{_in_comment(label)} some {need} more" for label, need in short.items())
        lines.append(f"too few records to prove a rule: {told}.")
    return lines
