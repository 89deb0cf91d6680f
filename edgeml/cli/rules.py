"""``edgeml rules``: looking at a file of rules before a bundle is built of it; rules of a box are in ``rule_switch``.

All commands need to know what a record looks like: from a bundle, from a schema, or read off data.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeml.cli import printable
from edgeml.cli.box import for_machines, tell, warn
from edgeml.cli.learn import learn
from edgeml.cli.rule_switch import disable, enable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml.builder.rule_document import RuleSource
    from edgeml.builder.rule_lints import Lints
    from edgeml.builder.rule_reasons import Explanation
    from edgeml.errors import RuleError
    from edgeml.runtime.schema import Schema

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def rules() -> None:
    """Check, lay out, explain, test and learn a file of rules; disable and enable those of a box.

    'edgeml quality' shows how each rule of a box does.
    """


rules.add_command(disable)
rules.add_command(enable)
rules.add_command(learn)


@dataclass(frozen=True)
class About:
    """What the options say that the rules are about.

    Attributes:
        bundle: A bundle that knows schema and labels.
        schema: A file with a schema.
        data: A file of records.
        form: Its format.
        texts: Columns of the data that are texts.
    """

    bundle: Path | None
    schema: Path | None
    data: Path | None
    form: str | None
    texts: tuple[str, ...]

    def known(self) -> tuple[Schema, list[Any] | None] | None:
        """Schema and labels; None where no option tells of them."""
        from edgeml.builder.rule_schema import schema_of_bundle, schema_of_data, schema_of_file
        from edgeml.bundles import Bundle
        from edgeml.runtime.record_file import format_of

        if self.bundle is not None:
            return schema_of_bundle(Bundle.read(self.bundle))
        if self.schema is not None:
            return schema_of_file(self.schema), None
        if self.data is not None:
            return schema_of_data(self.data, self.form or format_of(self.data), self.texts), None
        return None

    def read(self, file: Path) -> tuple[RuleSource, Schema]:
        """Reads rules.

        Raises:
            RuleError: They cannot be read at all.
            UsageError: Nothing says what a record looks like.
        """
        from edgeml.builder.rule_document import read_rules, read_source
        from edgeml.builder.rule_schema import labels_of_rules

        known = self.known()
        if known is None:
            raise click.UsageError("give --bundle, --schema or --data: rules can only be checked against a schema")
        schema, labels = known
        if self.bundle is None:
            labels = labels_of_rules(read_source(file)[0].document, file.parent)
        return read_rules(file, schema, labels), schema


def about(command: _Command) -> _Command:
    """Adds the options that say what the rules are about."""

    def asked(
        bundle: Path | None,
        schema: Path | None,
        data: Path | None,
        form: str | None,
        texts: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        return command(about=About(bundle, schema, data, form, texts), **rest)

    asked.__name__, asked.__doc__ = command.__name__, command.__doc__
    options = (
        click.option("--bundle", type=_FILE, help="Schema and labels are those of this bundle."),
        click.option("--schema", type=_FILE, help="The schema, as JSON."),
        click.option(
            "--data", type=_FILE, help="Records (CSV, NDJSON, JSON); also tells the schema if nothing else does."
        ),
        click.option("--data-format", "form", type=click.Choice(["json", "ndjson", "csv"]), help="Format of --data."),
        click.option("--text", "texts", multiple=True, metavar="COLUMN", help="A column of --data that is a text."),
    )
    made: Any = asked
    for option in reversed(options):
        made = option(made)
    made.__click_params__ = made.__click_params__ + getattr(command, "__click_params__", [])
    return made  # type: ignore[no-any-return]


@rules.command()
@click.argument("file", type=_FILE)
@click.option("--strict", is_flag=True, help="Exit status 1 where there is any remark, too.")
@for_machines
@about
def check(file: Path, about: About, strict: bool, as_json: bool) -> None:
    """Say what is wrong with the rules of FILE, and what is suspicious.

    Mistakes come with file, line and column, all of them at once; then remarks on rules that can never answer, have no
    effect, or (with --data) answer none of the records. The exit status is 1 where there is a mistake.
    """
    from edgeml.builder.rule_examples import count_examples, failed_examples

    read, schema = about.read(file)
    mistakes = read.mistakes or failed_examples(read, schema)
    found = None if read.mistakes else _lints(about, read, schema)
    remarks = found.found if found is not None else []
    report = {
        "file": str(file),
        "rules": len(read.rules.rules) if read.rules is not None else None,
        "examples": count_examples(read),
        "mistakes": [_mistake(each) for each in mistakes],
        "remarks": [
            {
                "kind": each.kind,
                "rule": each.rule,
                "message": each.message,
                "line": each.place.line if each.place else None,
                "column": each.place.column if each.place else None,
                "others": list(each.others),
            }
            for each in remarks
        ],
        "not_examined": found.not_examined if found is not None else [],
        "cost": _cost(read),
    }
    if as_json:
        tell(report, True)
    else:
        for mistake in mistakes:
            click.echo(printable(str(mistake)))
        for lint in remarks:
            click.echo(printable(f"{lint} [{lint.kind}]"))
        for line in _summary(report):
            click.echo(printable(line))
    if mistakes or strict and (remarks or report["not_examined"]):
        raise SystemExit(1)


def _lints(about: About, read: RuleSource, schema: Schema) -> Lints | None:
    """What is suspicious; None where the solver is not installed, which is said."""
    try:
        from edgeml.builder.rule_lints import lint_rules
    except ModuleNotFoundError as error:
        if error.name != "z3":
            raise
        warn("no remarks, for they need z3-solver: pip install 'edgeml[builder]'")
        return None
    frame, rows = _counted(about, schema)
    return lint_rules(read, schema, frame, rows)


def _counted(about: About, schema: Schema) -> tuple[Any, int]:
    """A frame of the records that were given, and how many there are."""
    if about.data is None:
        return None, 0
    from edgeml.builder.rule_truth import RuleTruth

    records = [record for _, record in _records(about.data, about.form, schema)]
    return RuleTruth(schema).frame(records), len(records)


def _records(data: Path, form: str | None, schema: Schema) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a file, without the columns that are no features."""
    from edgeml.cli.records import opened
    from edgeml.runtime.record_file import RecordFile

    with opened(data, form) as (stream, known, _):
        for item in RecordFile(stream, known, schema):
            if item.error is not None:
                raise item.error
            yield item.place, _features(item.place, item.record, schema)


def _features(place: str, record: Any, schema: Schema) -> dict[str, Any]:
    from edgeml.errors import RequestError

    if not isinstance(record, dict):
        raise RequestError(f"{place}: expected an object of features and values", code="bad_record")
    names = set(schema.names)
    return {name: value for name, value in record.items() if name in names}


def _mistake(error: RuleError) -> dict[str, Any]:
    return {"line": error.line or None, "column": error.column or None, "rule": error.rule, "message": str(error)}


def _cost(read: RuleSource) -> dict[str, int] | None:
    """What asking the rules costs at most; None where they have mistakes."""
    return None if read.rules is None else read.rules.cost()._asdict()


def _summary(report: dict[str, Any]) -> list[str]:
    lines = []
    if report["not_examined"]:
        lines.append(f"not examined, for it would take too long: {', '.join(report['not_examined'][:20])}")
    if report["cost"]:
        cost = report["cost"]
        lines.append(
            f"cost: at most {cost['longest']} of {cost['instructions']} instructions and {cost['scans']} passes over "
            f"texts for a record; {cost['table_bytes']} bytes"
        )
    counted = "" if report["rules"] is None else f"{report['rules']} rules, {report['examples']} examples, "
    mistakes, remarks = len(report["mistakes"]), len(report["remarks"])
    lines.append(f"{report['file']}: {counted}{mistakes or 'no'} mistakes, {remarks or 'no'} remarks")
    return lines


@rules.command(name="format")
@click.argument("file", type=_FILE)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit status 1 where the layout differs.")
@click.option("--write", is_flag=True, help="Write the file, not the screen.")
def format_(file: Path, only_check: bool, write: bool) -> None:
    """Lay out the rules of FILE: conditions, order of keys, indentation; comments and rules stay where they are."""
    from edgeml.builder.rule_document import read_text
    from edgeml.builder.rule_format import format_rules

    if file.suffix == ".json":
        raise click.UsageError("JSON has no layout that people keep; rules that people write are YAML")
    text = read_text(file)
    made = format_rules(text, str(file))
    if only_check:
        if made != text:
            click.echo(printable(f"{file}: not in canonical layout; edgeml rules format --write {file}"), err=True)
            raise SystemExit(1)
    elif not write:
        click.echo(made, nl=False)
    elif made != text:
        file.write_text(made, encoding="utf-8", newline="")


@rules.command()
@click.argument("file", type=_FILE)
@click.argument("records")
@click.option("--format", "records_form", type=click.Choice(["json", "ndjson", "csv"]), help="Default: by the ending.")
@click.option("--rule", "rule", help="Explain this rule only.")
@for_machines
@about
def explain(file: Path, records: str, about: About, records_form: str | None, rule: str | None, as_json: bool) -> None:
    """Say which rule of FILE answers each of RECORDS, and why each rule before it does not.

    RECORDS is a file (JSON, NDJSON, CSV), '-' for NDJSON on standard input, or one record written as {"name": value}.
    A feature that a record leaves out is missing.
    """
    from edgeml.builder.rule_reasons import RuleExplainer
    from edgeml.builder.rule_source import together
    from edgeml.errors import RequestError, SchemaError

    read, schema = about.read(file)
    if read.rules is None:
        raise together(read.mistakes)
    explainer = RuleExplainer(read.rules, read.document, schema)
    if rule is not None and rule not in [each.id for each in read.rules.rules]:
        raise click.UsageError(f"there is no rule {rule!r} in {file}")
    for place, record in _asked(records, records_form, schema):
        try:
            told = explainer.explain(record, rule)
        except SchemaError as error:
            raise RequestError(f"{place}: {error}", code="schema_violation") from error
        if as_json:
            click.echo(json.dumps({"record": place} | _document(told), ensure_ascii=True))
        else:
            _show(place, told)


def _asked(records: str, form: str | None, schema: Schema) -> Iterator[tuple[str, dict[str, Any]]]:
    from edgeml.runtime.record_file import RecordFile

    if records.lstrip().startswith(("{", "[")):
        for item in RecordFile(io.BytesIO(records.encode()), "json", schema):
            yield item.place, _features(item.place, item.record, schema)
    else:
        yield from _records(Path(records), form, schema)


def _document(told: Explanation) -> dict[str, Any]:
    reasons = [{"rule": each.rule, "truth": each.truth, "parts": list(each.parts)} for each in told.reasons]
    return {"fires": told.fires, "answer": told.answer, "reasons": reasons}


def _show(place: str, told: Explanation) -> None:
    if told.fires is None:
        what = "no rule fires; the model answers"
    elif told.answer is None:
        what = f"rule {told.fires} abstains; the model answers"
    else:
        what = f"rule {told.fires} answers {told.answer!r}"
    click.echo(printable(f"{place}: {what}"))
    for reason in told.reasons:
        click.echo(printable(f"  {reason.rule}: {reason.truth}"))
        for part in reason.parts:
            click.echo(printable(f"    {part}"))


@rules.command()
@click.argument("file", type=_FILE)
@for_machines
@about
def test(file: Path, about: About, as_json: bool) -> None:
    """Ask the examples that stand beside the rules of FILE; those that fail are shown with the reason.

    The exit status is 1 where one fails. A bundle is not built of such rules.
    """
    from edgeml.builder.rule_examples import count_examples, failed_examples
    from edgeml.builder.rule_source import together

    read, schema = about.read(file)
    if read.rules is None:
        raise together(read.mistakes)
    failed = failed_examples(read, schema)
    count = count_examples(read)
    if as_json:
        tell({"file": str(file), "examples": count, "failed": [_mistake(each) for each in failed]}, True)
    else:
        for each in failed:
            click.echo(printable(str(each)))
        click.echo(printable(f"{file}: {count} examples, {len(failed) or 'none'} failed"))
    if failed:
        raise SystemExit(1)
