"""Examples that stand beside the rules: records, and what must become of them.

1. Beside a rule: ``fires`` (this rule is the one that answers) and ``silent`` (its condition is not true).
2. At the end of the file: a record with the rule, the label or the value that must come of it, or ``answers: model``.
3. An example leaves out what does not matter; that is missing. What it gives must fit the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeml.builder.rule_document import RuleSource, located
from edgeml.builder.rule_reasons import RuleExplainer, answer_of
from edgeml.builder.rule_truth import TRUE
from edgeml.builder.written_document import Path as Part
from edgeml.errors import RuleError, SchemaError
from edgeml.runtime.schema import Schema

_BESIDE = ("fires", "silent")
_WANTED = ("rule", "label", "value", "answers")


def failed_examples(read: RuleSource, schema: Schema) -> list[RuleError]:
    """What is wrong with the examples, each with its place; nothing where all of them hold.

    Args:
        read: Rules without a mistake.
        schema: What a record looks like.
    """
    assert read.rules is not None
    document = read.written.document
    explainer: RuleExplainer | None = None
    wrong: list[RuleError] = []
    for part, rule, example, fault in _examples(document):
        if not fault:
            explainer = explainer or RuleExplainer(read.rules, read.document, schema)
            fault = _fault(read, explainer, rule, example)
        if fault:
            wrong.append(located(read, RuleError(f"example: {fault}", rule=rule or ""), part))
    return wrong


def count_examples(read: RuleSource) -> int:
    """How many examples there are.

    Args:
        read: Rules that have been read.
    """
    return sum(1 for _ in _examples(read.written.document))


def _examples(document: Mapping[str, Any]) -> Iterator[tuple[Part, str | None, Mapping[str, Any], str]]:
    """Each example as ``{"record": ..., what is wanted}``, where it stands, its rule, and what is wrong in its form."""
    for number, rule in enumerate(document.get("rules") or ()):
        given = rule.get("examples") if isinstance(rule, Mapping) else None
        if given is None:
            continue
        part: Part = ("rules", number, "examples")
        identity = str(rule.get("id", f"rule-{number + 1}"))
        if not isinstance(given, Mapping) or not given or set(given) - set(_BESIDE):
            yield part, identity, {}, f"beside rule {identity!r}: expected an object with 'fires' or 'silent'"
            continue
        for key in given:
            if not isinstance(given[key], Sequence) or isinstance(given[key], str):
                yield (*part, key), identity, {}, f"beside rule {identity!r}: {key} must be a list of records"
                continue
            for index, record in enumerate(given[key]):
                fault = "" if isinstance(record, Mapping) else "expected a record, an object of features and values"
                yield (*part, key, index), identity, {"record": record, key: True}, fault
    given = document.get("examples") or ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        yield ("examples",), None, {}, "'examples' must be a list"
        return
    for index, example in enumerate(given):
        part = ("examples", index)
        if not isinstance(example, Mapping) or not isinstance(example.get("record"), Mapping):
            yield part, None, {}, "expected an object with 'record' and what must come of it"
            continue
        wanted = [key for key in example if key != "record"]
        fault = ""
        if len(wanted) != 1 or wanted[0] not in _WANTED:
            fault = f"expected one of {', '.join(_WANTED)} beside 'record', got {', '.join(map(str, wanted)) or 'none'}"
        elif wanted[0] == "answers" and example["answers"] != "model":
            fault = f"answers: expected model, got {example['answers']!r}"
        yield part, None, example, fault


def _fault(read: RuleSource, explainer: RuleExplainer, rule: str | None, example: Mapping[str, Any]) -> str:
    """Why an example does not hold; an empty string where it does."""
    record = example["record"]
    assert read.rules is not None
    rules = read.rules.rules
    numbers = {each.id: number for number, each in enumerate(rules)}
    wanted = example.get("rule", rule)
    if wanted is not None and wanted not in numbers:
        return f"there is no rule {wanted!r}"
    try:
        fired = explainer.fires(record)
        happened = _happened(explainer, fired, rules, record)
        if "silent" in example:
            if explainer.truth(numbers[str(wanted)], record) != TRUE:
                return ""
            [reason] = explainer.explain(record, str(wanted)).reasons
            return f"rule {wanted!r} must be silent, and its condition is true: {'; '.join(reason.parts)}"
        if wanted is not None:
            if fired == numbers[str(wanted)]:
                return ""
            if 0 <= fired < numbers[str(wanted)]:
                return f"rule {wanted!r} must answer, and {happened}"
            [reason] = explainer.explain(record, str(wanted)).reasons
            return f"rule {wanted!r} must answer, and {happened}; {wanted}: {'; '.join(reason.parts)}"
    except SchemaError as error:
        return str(error)
    answer = answer_of(rules[fired]) if fired >= 0 else None
    if "answers" in example:
        return "" if answer is None else f"the model must answer, and {happened}"
    key = "label" if "label" in example else "value"
    expected = example[key]
    same = answer is not None and isinstance(answer, bool) == isinstance(expected, bool) and answer == expected
    return "" if same else f"{key} {expected!r} must come of it, and {happened}"


def _happened(explainer: RuleExplainer, fired: int, rules: Sequence[Any], record: Mapping[str, Any]) -> str:
    if fired < 0:
        return "no rule fires, so the model answers"
    [reason] = explainer.explain(record, rules[fired].id).reasons
    answer = answer_of(rules[fired])
    said = "abstains, so the model answers" if answer is None else f"answers {answer!r}"
    return f"rule {rules[fired].id!r} {said}: {'; '.join(reason.parts)}"
