"""Explained answers of ``edgeml predict``: as JSON documents, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeml.runtime.record_file import Item

# What the sum of the contributions is, by its scale.
_SCALES = {
    "score": "the score itself",
    "log-odds": "the log-odds of the label",
    "log-ratio": "the log of the label's score, less the mean over all labels",
    "log": "the log of the value",
    "inner": "a number that the score rises with",
}


class ExplainedAnswers:
    """Puts its explanation to each answer.

    Args:
        predictor: Who answers.
    """

    def __init__(self, predictor: Any) -> None:
        from edgeml.runtime.explanation import Explainer

        self._explainer = Explainer(predictor)

    def of(self, items: Sequence[Item], answers: Sequence[Any]) -> list[Any]:
        """The answers as JSON documents with ``explanation``; errors as they are.

        Args:
            items: The records.
            answers: Their answers, perhaps fewer: the last may be refused.
        """
        import msgspec

        from edgeml.runtime.explanation_budget import Allowance

        # ``zip`` would take an item more than there are answers.
        return [
            answer
            if isinstance(answer, dict)
            else msgspec.to_builtins(answer)
            | {"explanation": self._explainer.of_record(items[at].record, answer, Allowance())}
            for at, answer in enumerate(answers)
        ]


def in_words(item: Item, answer: Mapping[str, Any]) -> str:
    """An explained answer for people, several lines.

    Args:
        item: The record.
        answer: Its answer, or an error.
    """
    head = f"{item.unit} {item.number}: "
    if "error" in answer:
        return f"{head}{answer['error']}\n"
    given = answer.get("label", answer.get("value"))
    said = answer["explanation"]
    score = answer.get("scores", {}).get(str(given))
    lines = [f"{head}{given}{'' if score is None else f' ({score:.3g})'}, by the {answer['tier']}"]
    if "abstained" in said:
        lines.append(f"rule {said['abstained']} has abstained")
    if "when" in said:
        lines[0] += f" {said['rule']}"
        lines += [said["when"]] + [f"{name}: {text}" for name, text in said.get("where", {}).items()]
        lines += [f"{name} is {_value(value)}" for name, value in said.get("values", {}).items()]
        lines += [f"in {name}: {', '.join(map(repr, words))}" for name, words in said.get("found", {}).items()]
        for card in said.get("cards", []):
            lines += [f"{term['points']:+10.4g}  {term['if']}" for term in card["terms"]]
            lines += [f"            and {card['more']} terms more"] if "more" in card else []
            lines.append(f"{card['sum']:+10.4g}  points" + (f"; needed: {card['needs']}" if "needs" in card else ""))
        lines += [said[key] for key in ("note", "reason") if key in said]
    elif said.get("contributions") is None:
        lines.append(said.get("reason") or "no reason is known")
    else:
        lines.append(f"{said['sum']:+.4g} = {_SCALES[said['scale']]}")
        lines.append(f"{said['baseline']:+10.4g}  baseline")
        lines += [f"{each['contribution']:+10.4g}  {_name(each)}" for each in said["contributions"]]
        lines += [f"{said['rest']:+10.4g}  all others"] if said["rest"] else []
    return "\n  ".join(lines) + "\n"


def _name(each: Mapping[str, Any]) -> str:
    if "term" in each:
        return f"{each['feature']}: {each['term']!r}"
    if "features" in each:
        return ", ".join(each["features"]) + (f" and {each['more']} more" if "more" in each else "") or "constants"
    return f"{each['feature']} is {_value(each['value'])}"


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    return "a level that training has not seen" if isinstance(value, dict) else repr(value)
