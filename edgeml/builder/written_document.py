"""A YAML or JSON document with the place of every part of it, down to the character of a scalar.

1. YAML is read without tags: a document makes strings, numbers, booleans, lists and objects, and nothing else.
2. A key that stands twice is refused, not overwritten.
3. A path names a part: keys and indexes from the root, as in ``("rules", 3, "when")``. Parts are sought when somebody
   asks; a document in which nothing is wrong pays for none of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from edgeml.errors import RuleError

Path = tuple[str | int, ...]

_ESCAPES = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}
_DIGITS = {"x": 2, "u": 4, "U": 8}
_SPACE = " \t\r\n"
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file.

    Attributes:
        name: The file, as messages call it.
        line: Its line, from 1; 0 where it is not known.
        column: Its character in the line, from 1; 0 where it is not known.
        text: The line.
    """

    name: str
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        numbers = [str(number) for number in (self.line, self.column) if number]
        return ":".join([self.name, *numbers])

    def caret(self) -> str:
        """The line with a caret under the character, to follow a message; empty where the place is not known."""
        if not self.line or not self.column:
            return ""
        at = self.column - 1
        left = max(0, at - 60)
        shown = "".join(mark if mark.isprintable() else " " for mark in self.text[left : at + _SHOWN - 40])
        before = "..." if left else ""
        return f"\n  {before}{shown}\n  {' ' * (len(before) + at - left)}^"


@dataclass
class Written:
    """A document and its text.

    Attributes:
        document: Its plain values.
        name: What messages call it; empty where it is no text but Python's own lists and objects.
        text: What was read.
        root: Node of the whole; made when a place is asked for.
        above: Steps of a path that stand only in ``document``, since the text leaves them out.
    """

    document: Any
    name: str = ""
    text: str = ""
    root: yaml.Node | None = field(default=None, repr=False)
    above: Path = ()

    def place(self, path: Path, *, offset: int | None = None, key: bool = False) -> Place | None:
        """Where a part stands; None where the document was not read from a text.

        Args:
            path: The part. Where it is not there, the nearest part above it is taken.
            offset: A character of a string, counted in its value.
            key: Whether the key of the part is meant, not its value.
        """
        if not self.name:
            return None
        if self.root is None:
            try:
                self.root = yaml.compose(self.text, Loader=yaml.SafeLoader)
            except yaml.YAMLError:
                pass  # JSON that YAML does not read
            if self.root is None:
                return Place(self.name)
        node, last, found = self.root, self.root, True
        for step in path[len(self.above) :] if path[: len(self.above)] == self.above else path:
            pair = _child(node, step)
            if pair is None:
                found = False
                break
            last, node = pair
        if key and found:
            node = last
        mark = node.start_mark
        index = mark.index
        if offset is not None and found and isinstance(node, yaml.ScalarNode):
            # What is missing at the end is shown behind the last sign, not behind a break.
            at = scalar_index(node, self.text, min(offset, len(node.value.rstrip())))
            index = mark.index if at is None else at
        return place_at(self.name, self.text, index)


def place_at(name: str, text: str, index: int) -> Place:
    """The place of a character of a text."""
    index = min(index, len(text))
    begin = text.rfind("\n", 0, index) + 1
    end = text.find("\n", index)
    line = text[begin : len(text) if end < 0 else end].rstrip("\r")
    return Place(name, text.count("\n", 0, index) + 1, index - begin + 1, line)


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value under a step; of a list, the value twice."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key, value
    return None


def scalar_index(node: yaml.ScalarNode, text: str, offset: int) -> int | None:
    """Index in the text of a character of a scalar; None where the two cannot be laid side by side.

    Args:
        node: The scalar.
        text: The whole document.
        offset: The character in the scalar's value; its length is the place behind its last character.
    """
    at, end = node.start_mark.index, node.end_mark.index
    last = at
    style = node.style or ""
    if style in ("'", '"'):
        at, end = at + 1, end - 1
    elif style in ("|", ">"):
        at = text.find("\n", at) + 1
    for number, mark in enumerate(node.value[: offset + 1]):
        if mark in _SPACE and (style != '"' or text[at : at + 1] in _SPACE):
            start = at
            if text[at : at + 1] == mark and mark != "\n":
                at += 1
            else:
                while at < end and text[at] in _SPACE:
                    at += 1
        else:
            # A break that was folded away, or an indentation.
            while at < end and text[at] in _SPACE and text[at] != mark:
                at += 1
            start = at
            if style == '"' and text[at : at + 1] == "\\":
                read = _escape(text, at)
                while read is not None and read[0] == "" and at < end:  # a line that goes on in the next
                    start = at = read[1]
                    read = _escape(text, at) if text[at : at + 1] == "\\" else (text[at : at + 1], at + 1)
                if read is None or read[0] != mark:
                    return None
                at = read[1]
            elif style == "'" and mark == "'" and text[at : at + 2] == "''":
                at += 2
            elif text[at : at + 1] == mark:
                at += 1
            else:
                return None
        if number == offset and mark not in _SPACE:
            return start if start <= end else None
        last = at if mark not in _SPACE else last
        if number == offset:
            return last
    return min(last, end)


def _escape(text: str, at: int) -> tuple[str, int] | None:
    """What a backslash and what follows stand for, and where it ends; nothing for a line that goes on."""
    sign = text[at + 1 : at + 2]
    if sign in _DIGITS:
        end = at + 2 + _DIGITS[sign]
        try:
            return chr(int(text[at + 2 : end], 16)), end
        except ValueError:
            return None
    if sign in ("\n", "\r"):
        at += 1
        while text[at : at + 1] and text[at] in _SPACE:
            at += 1
        return "", at
    return _ESCAPES.get(sign, sign), at + 2


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what YAML readers silently accept."""

    name = "rules"

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            where = f"{self.name}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise RuleError(f"{where}: a key must be a word")
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise RuleError(f"{where}: merge keys (<<) are not read; write the members out")
            if key_node.value in lines:
                first = lines[key_node.value]
                raise RuleError(f"{where}: key {key_node.value!r} stands twice (first in line {first}); remove one")
            lines[key_node.value] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, name: str) -> Written:
    """Reads YAML.

    Args:
        text: The document.
        name: What messages call it.

    Raises:
        RuleError: It is no YAML, or says something that its readers would silently pass over; names the place.
    """
    try:
        # A SafeLoader by inheritance: it makes plain values only.
        loader = _Loader(text)
        loader.name = name
        root = loader.get_single_node()
        return Written(None if root is None else loader.construct_document(root), name, text, root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = place_at(name, text, mark.index) if mark else Place(name)
        raise RuleError(f"{place}: no YAML: {error.problem or error.context}{_hint(error)}{place.caret()}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RuleError(f"{name}: no YAML: {str(error) or 'nested too deep'}") from error


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "'`'" in problem:
        return "; put a condition that begins with a backquote in double quotes"
    if "mapping values are not allowed" in problem:
        return "; put a text that holds ': ' in quotes"
    if "<block end>" in problem or "<block mapping>" in (error.context or ""):
        return "; put a condition that begins with a quote in quotes of the other kind, and check the indentation"
    return ""


def read_json(text: str, name: str) -> Written:
    """Reads JSON.

    Args:
        text: The document.
        name: What messages call it.

    Raises:
        RuleError: It is no JSON, or a key stands twice in one object.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise RuleError(f"{name}: key {twice!r} stands twice in one object; remove one")
        return made

    try:
        return Written(json.loads(text, object_pairs_hook=distinct), name, text)
    except json.JSONDecodeError as error:
        place = place_at(name, text, error.pos)
        raise RuleError(f"{place}: no JSON: {error.msg}{place.caret()}") from error
    except (RecursionError, ValueError) as error:
        raise RuleError(f"{name}: no JSON: {str(error) or 'nested too deep'}") from error
