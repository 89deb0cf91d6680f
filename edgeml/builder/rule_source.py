"""Rules as people write them (YAML, JSON, Python lists) -> a checked RuleList. The only file that knows YAML.

1. YAML is read without tags: a document makes strings, numbers, booleans, lists and objects, and nothing else.
2. A key that stands twice is refused, not overwritten.
3. Whatever is wrong is a RuleError that names the file or line and, once it is known, the rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgeml.builder.units import convert_unit
from edgeml.errors import RuleError
from edgeml.runtime.prediction import Label
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

MAX_BYTES = 16 * 1024 * 1024
_ENDINGS = (".yaml", ".yml", ".json")


def parse_rules(source: Any, schema: Schema, labels: Sequence[Label] | None = None) -> RuleList:
    """Reads rules, checks them against the schema and compiles them.

    Args:
        source: A path (``Path``, or a string that ends in ``.yaml``, ``.yml`` or ``.json``), YAML text, a list of
            rules, or ``{"rules": [...]}``; see docs/rules.md.
        schema: What a record looks like.
        labels: What a classification may answer; None for a regression.

    Raises:
        RuleError: The source cannot be read, or a rule is wrong; names the rule or the line.
    """
    if isinstance(source, Path) or isinstance(source, str) and _is_path(source):
        document = _read(Path(source))
    elif isinstance(source, str):
        document = _yaml(source, "rules")
    else:
        document = source
    if isinstance(document, Sequence) and not isinstance(document, str | bytes):
        document = {"rules": document}
    if not isinstance(document, Mapping):
        raise RuleError(
            f"rules: expected a list of rules or an object with the key 'rules', got {type(document).__name__}"
        )
    return RuleList.from_document(document, schema, labels=labels, convert=convert_unit)


def _is_path(text: str) -> bool:
    return text.endswith(_ENDINGS) and "\n" not in text


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RuleError(f"{path}: more than {MAX_BYTES} bytes; this is no file of rules")
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RuleError(f"{path}: the rules cannot be read: {reason}") from error
    if path.suffix == ".json":
        return _json(text, str(path))
    return _yaml(text, str(path))


def _json(text: str, name: str) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise RuleError(f"{name}: key {twice!r} stands twice in one object; remove one")
        return made

    try:
        return json.loads(text, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        raise RuleError(f"{name}: line {error.lineno}, column {error.colno}: no JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise RuleError(f"{name}: no JSON: {str(error) or 'nested too deep'}") from error


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what YAML readers silently accept."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RuleError(f"line {line}: a key must be a word")
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise RuleError(f"line {line}: merge keys (<<) are not read; write the members out")
            if key_node.value in lines:
                first = lines[key_node.value]
                raise RuleError(f"line {line}: key {key_node.value!r} stands twice (first in line {first}); remove one")
            lines[key_node.value] = line
        return super().construct_mapping(node, deep=deep)


def _yaml(text: str, name: str) -> Any:
    try:
        # A SafeLoader by inheritance: it makes plain values only.
        return yaml.load(text, Loader=_Loader)
    except RuleError as error:
        raise RuleError(f"{name}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RuleError(f"{name}: {where}no YAML: {error.problem or error.context}{_hint(error)}") from error
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
