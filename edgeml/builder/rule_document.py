"""What people write as rules -> the document that a box reads, and every mistake in it at its place.

1. What is written holds more than a box reads: tables (``rule_tables.py``), examples, vetoes. Tables become plain rules
   here; examples and vetoes stay behind.
2. All mistakes of a source are found together; each names file, line and column where these are known.
3. A good source is read once. Only where something is wrong is each rule looked at by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeml.builder.rule_tables import LoweredTable, TableReader
from edgeml.builder.units import convert_unit
from edgeml.builder.written_document import Path as Part
from edgeml.builder.written_document import Place, Written, read_json, read_yaml
from edgeml.errors import RuleError
from edgeml.runtime.expression import Arithmetic, Call, Count, Negate, Number, Points
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.prediction import Label
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

MAX_BYTES = 16 * 1024 * 1024
_ENDINGS = (".yaml", ".yml", ".json")
# What a box reads beside the rules, and what only the builder does.
SHARED_KEYS = ("lists", "define")
WRITTEN_KEYS = ("tables", "examples", "veto")
# Of a rule, likewise.
WRITTEN_RULE_KEYS = ("examples", "veto")


@dataclass
class RuleSource:
    """A source of rules that has been read.

    Attributes:
        written: The document as it was written.
        rules: The rules; None where there are mistakes.
        mistakes: What is wrong, in the order of the file.
        document: What a box reads: lists, definitions and plain rules.
        parts: For each rule of ``document``, where in the written document it comes from.
        tables: The tables, by name.
    """

    written: Written
    rules: RuleList | None = None
    mistakes: list[RuleError] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    parts: list[Part | Place] = field(default_factory=list)
    tables: dict[str, LoweredTable] = field(default_factory=dict)

    def place_of(self, index: int, *rest: str | int, offset: int | None = None) -> Place | None:
        """Where a rule stands, or a part of it.

        Args:
            index: The rule, by its place in ``document``.
            rest: The part, as ``"when"``.
            offset: A character of the part, if it is a string.
        """
        part = self.parts[index]
        if isinstance(part, Place):
            return part
        if part[0] == "tables":
            return self.written.place(part)  # a row has no condition of its own to point into
        return self.written.place((*part, *rest), offset=offset)


def read_rules(source: Any, schema: Schema, labels: Sequence[Label] | None = None) -> RuleSource:
    """Reads rules and gathers what is wrong with them.

    Args:
        source: A path (``Path``, or a string that ends in ``.yaml``, ``.yml`` or ``.json``), YAML text, a list of
            rules, or an object with the key ``rules``; see docs/rules.md.
        schema: What a record looks like.
        labels: What a classification may answer; None for a regression.

    Raises:
        RuleError: The source cannot be read at all.
    """
    written, folder = read_source(source)
    read = RuleSource(written)
    if isinstance(written.document, Sequence) and not isinstance(written.document, str | bytes):
        written.document = {"rules": written.document}
        written.above = ("rules",)
    if not isinstance(written.document, Mapping):
        got = type(written.document).__name__
        raise RuleError(f"rules: expected a list of rules or an object with the key 'rules', got {got}")
    _lower(read, schema, labels, folder)
    if not read.mistakes:
        try:
            read.rules = RuleList.from_document(read.document, schema, labels=labels, convert=convert_unit)
            return read
        except RuleError as error:
            _find_all(read, schema, labels)
            if not read.mistakes:  # what is wrong with all of them together
                read.mistakes.append(located(read, error, ()))
    else:
        _find_all(read, schema, labels)
    read.mistakes.sort(key=_order)
    return read


def read_source(source: Any) -> tuple[Written, Path]:
    """Reads the document of a source, without looking at its rules.

    Args:
        source: As for ``read_rules``.

    Returns:
        The document, in which a list alone stands under ``rules``; and the folder that its files are named from.

    Raises:
        RuleError: It cannot be read.
    """
    folder = Path()
    if isinstance(source, Path) or isinstance(source, str) and _is_path(source):
        folder = Path(source).parent
        written = _read(Path(source))
    elif isinstance(source, str):
        written = read_yaml(source, "rules")
    else:
        written = Written(source)
    return written, folder


def _is_path(text: str) -> bool:
    return text.endswith(_ENDINGS) and "\n" not in text


def read_text(path: Path, what: str = "the rules") -> str:
    """The text of a file that people have written.

    Raises:
        RuleError: It cannot be read, is too large or no UTF-8.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RuleError(f"{path}: more than {MAX_BYTES} bytes; this is no file of rules")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RuleError(f"{path}: {what} cannot be read: {reason}") from error


def _read(path: Path) -> Written:
    text = read_text(path)
    return read_json(text, str(path)) if path.suffix == ".json" else read_yaml(text, str(path))


def _lower(read: RuleSource, schema: Schema, labels: Sequence[Label] | None, folder: Path) -> None:
    """Makes the document that a box reads: tables become rules where they stand, what only the builder reads goes."""
    written = read.written
    given: Any = written.document
    for key in given:
        if key not in ("rules", *SHARED_KEYS, *WRITTEN_KEYS):
            known = ", ".join(("rules", *SHARED_KEYS, *WRITTEN_KEYS))
            error = RuleError(f"unknown key {key!r} beside 'rules'; there are {known}")
            read.mistakes.append(located(read, error, (str(key),), key=True))
    items = given.get("rules", [] if "tables" in given else None)
    read.document = {key: given[key] for key in SHARED_KEYS if key in given}
    if "rules" not in given and "tables" not in given:
        raise RuleError('rules: expected an object {"rules": [...]}')
    if not isinstance(items, Sequence) or isinstance(items, str | bytes):
        # The reader of the box says what it expects.
        read.document["rules"] = items
        return
    reader = TableReader(written, schema, read.document, folder, labels)
    read.tables = reader.read(given.get("tables", {}))
    read.mistakes += reader.mistakes
    rules: list[Any] = []
    placed: dict[str, int] = {}

    def place(name: str) -> None:
        rules.extend(read.tables[name].rules)
        read.parts.extend(read.tables[name].parts)

    for number, item in enumerate(items, start=1):
        part: Part = ("rules", number - 1)
        if isinstance(item, Mapping) and "table" in item:
            fault = _placing_fault(item, read.tables, reader.names, placed)
            if fault:
                read.mistakes.append(located(read, RuleError(fault), (*part, "table")))
            elif item["table"] in read.tables:
                place(item["table"])
            if isinstance(item["table"], str):
                placed.setdefault(item["table"], number)
            continue
        if isinstance(item, Mapping):
            item = {key: value for key, value in item.items() if key not in WRITTEN_RULE_KEYS}
            if isinstance(item.get("when"), str):
                item["when"] = item["when"].rstrip()  # a block of lines ends in a break
            if "id" not in item:
                item = {"id": f"rule-{number}", **item}
        rules.append(item)
        read.parts.append(part)
    for name in read.tables:
        if name not in placed:
            place(name)
    read.document["rules"] = rules


def _placing_fault(
    item: Mapping[Any, Any], tables: Mapping[str, Any], names: Sequence[str], placed: Mapping[str, int]
) -> str:
    """What is wrong with an entry that says where a table stands; an empty string where nothing is."""
    name = item["table"]
    if len(item) > 1:
        return "an entry that places a table has the key 'table' and no other; the table's rows say what it answers"
    if not isinstance(name, str) or name not in (*tables, *names):
        known = ", ".join(names) or "none"
        return f"there is no table {name!r} under 'tables'; there are {known}"
    if name in placed:
        return f"table {name!r} stands here a second time (first as entry {placed[name]}); remove one"
    return ""


def _find_all(read: RuleSource, schema: Schema, labels: Sequence[Label] | None) -> None:
    """Looks at each rule by itself and gathers every mistake."""
    items = read.document.get("rules")
    if not isinstance(items, list):
        return
    shared, broken = _shared(read, schema)
    first_of: dict[Any, int] = {}
    for index, item in enumerate(items):
        given = item.get("id") if isinstance(item, Mapping) else None
        if isinstance(given, str) and first_of.setdefault(given, index) != index:
            number = first_of[given] + 1
            twice = RuleError(f"rule {given!r}: rule number {number} has the same id; ids must be distinct", rule=given)
            read.mistakes.append(located(read, twice, read.parts[index], "id"))
        for fault, rest in _faults(item, index, shared, schema, labels):
            if _is_about(fault, broken):
                continue
            read.mistakes.append(located(read, fault, read.parts[index], *rest, offset=fault.position))


def _faults(
    item: Any, index: int, shared: Mapping[str, Any], schema: Schema, labels: Sequence[Label] | None
) -> list[tuple[RuleError, Part]]:
    """All that is wrong with one rule, each with its part; what was found is put right to find what is behind it."""
    found: list[tuple[RuleError, Part]] = []
    nameless = False
    mended_then: dict[str, Any] | None = None
    if isinstance(item, Mapping):
        item = dict(item)
    for _ in range(10):
        try:
            RuleList.from_document({**shared, "rules": [item]}, schema, labels=labels, convert=convert_unit)
            break
        except RuleError as error:
            who = f"rule number {index + 1}:"
            text = str(error).replace("rule number 1:", who, 1)
            if nameless:
                text = _PREFIX.sub(who + " ", text, count=1)
            said = RuleError(text, rule=error.rule, position=error.position)
            part = ("when",) if error.position >= 0 else _part_of(text)
            found.append((said, part))
            if not isinstance(item, dict) or not part:
                if isinstance(item, dict) and not {"when", "then"} <= item.keys():
                    item = {"when": "true", "then": {"abstain": True}} | item
                    continue
                break
            key, then = part[0], item.get("then")
            if len(part) == 2 and isinstance(then, Mapping) and then is not mended_then:
                # Label and score are looked at one after the other.
                mended_then = {name: value for name, value in then.items() if name != part[1]}
                if part[1] == "label" and labels:
                    mended_then["label"] = labels[0]
                item["then"] = mended_then
                continue
            mended = {"when": "true", "then": {"abstain": True}, "id": f"rule-{index + 1}"}
            nameless = nameless or key == "id"
            if key in mended and item.get(key) != mended[str(key)]:
                item[key] = mended[str(key)]
            elif item.pop(key, None) is None:
                break
    return found


_PREFIX = re.compile(r"^rule (?:'(?:[^'\\]|\\.)*'|\"[^\"]*\"|number \d+): ")
_WORDS = re.compile(
    r"(?P<then>then: )?(?:unknown key '(?P<unknown>[^']*)'|(?P<must>\w+) must|(?P<id>id) |(?P<key>when|then):)"
)


def _part_of(message: str) -> Part:
    """The part of a rule that a message is about, as far as its words say."""
    found = _PREFIX.match(message)
    rest = message[found.end() :] if found else message
    words = _WORDS.match(rest)
    above: Part = ("then",) if rest.startswith("then: ") else ()
    if above and " is no label" in rest:
        return ("then", "label")
    if words is None:
        return above
    if words["key"]:
        return (words["key"],)
    name = words["unknown"] or words["must"] or words["id"]
    return (*above, name)


def _shared(read: RuleSource, schema: Schema) -> tuple[dict[str, Any], set[str]]:
    """Lists and definitions without those in which something is wrong, and the names of these.

    What is wrong goes into the mistakes; what is wrong only because something else is missing does not.
    """
    shared = {key: read.document[key] for key in SHARED_KEYS if key in read.document}
    broken: set[str] = set()
    while True:
        try:
            RuleList.from_document({**shared, "rules": []}, schema, convert=convert_unit)
            return shared, broken
        except RuleError as error:
            part = _shared_part(error)
            if not _is_about(error, broken):
                of_name = str(error).startswith(("lists: ", "define: "))
                read.mistakes.append(located(read, error, part, offset=error.position, key=of_name))
            members = shared.get(str(part[0])) if part else None
            name = part[1] if len(part) > 1 else None
            if isinstance(members, Mapping) and name in members:
                rest = {key: value for key, value in members.items() if key != name}
                instead = _stand_in(members[name]) if part[0] == "define" and error.position >= 0 else None
                if instead is not None and instead != members[name]:
                    rest[name] = instead
                else:
                    broken.add(str(name))
                shared[str(part[0])] = rest
            else:
                return {}, broken | {"*"}


def _stand_in(given: Any) -> str | None:
    """Something of the kind of a definition that is wrong, so that those which use it can be looked at."""
    try:
        node = parse_expression(str(given))
    except RuleError:
        return None
    return "0" if isinstance(node, Number | Negate | Call | Arithmetic | Points | Count) else "true"


_NAMELESS = re.compile(r"(?:unknown feature|there is no list) `?([^\s`;]+)`?;")


def _is_about(error: RuleError, broken: set[str]) -> bool:
    """Whether an error says only that a name is not known, which is written down and wrong itself."""
    found = _NAMELESS.search(str(error))
    return found is not None and (found[1] in broken or "*" in broken)


def _shared_part(error: RuleError) -> Part:
    """The list or definition that an error is about, as far as it says."""
    text = str(error)
    found = re.match(r"(lists|list|define|definition):? '([^']+)'", text)
    if found is None:
        found = re.match(r"(lists|define):", text)
        return (found[1],) if found else ()
    value = re.match(r"[^:]*: value (\d+) ", text)
    part: Part = ("lists" if found[1].startswith("list") else "define", found[2])
    return (*part, int(value[1]) - 1) if value else part


def located(
    read: RuleSource, error: RuleError, part: Part | Place, *rest: str | int, offset: int = -1, key: bool = False
) -> RuleError:
    """The same error with its place in front, and the line where it shows none yet.

    Args:
        read: The source.
        error: What is wrong.
        part: Where, or the part of the document that it is about.
        rest: More steps to the part.
        offset: Character of the part, if it is a string.
        key: Whether the part's key is meant.
    """
    key = key or "unknown key" in str(error)
    if isinstance(part, Place):
        place: Place | None = part
    else:
        place = read.written.place((*part, *rest), offset=offset if offset >= 0 else None, key=key)
    if place is None:
        return error
    message = str(error)
    caret = "" if "\n" in message else place.caret()
    located = RuleError(f"{place}: {message}{caret}", rule=error.rule, position=error.position)
    located.line, located.column = place.line, place.column
    return located


def _order(error: RuleError) -> tuple[int, int]:
    return error.line, error.column
