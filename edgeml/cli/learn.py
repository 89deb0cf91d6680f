"""``edgeml rules learn``: a list of rules with a guaranteed precision, from records with known labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeml.cli import NOT_CHECKED, printable


@click.command()
@click.option("--bundle", required=True, type=click.Path(path_type=Path), help="Its schema, labels and model are used.")
@click.option("--data", required=True, type=click.Path(path_type=Path, allow_dash=True), help="JSON, NDJSON or CSV.")
@click.option("--label", help="The key of the known label; without it rules learn what the model says.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The YAML file to write.")
@click.option("--target", type=float, default=0.95, show_default=True, help="Precision that every rule is to have.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="How sure that all rules have it.")
@click.option("--aim", type=float, help="Precision to grow for; default halfway between the target and 1.")
@click.option("--max-rules", type=int, default=40, show_default=True, help="Most rules.")
@click.option("--max-conditions", type=int, default=3, show_default=True, help="Most conditions of a short rule.")
@click.option("--max-points", type=int, default=20, show_default=True, help="Most conditions of a scorecard; 0: none.")
@click.option("--proving", type=float, default=0.4, show_default=True, help="Share of the records that proves.")
@click.option("--phrases", is_flag=True, help="Let two words that follow each other be a condition.")
@click.option("--veto", multiple=True, help="A feature, word, condition or rule id not to be used; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split.")
@click.option("--keep", type=click.Path(path_type=Path), help="A rules file: what people wrote or pinned in it stays.")
@click.option("--format", "form", type=click.Choice(["json", "ndjson", "csv"]), help="Default: by the file's ending.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
def learn(
    bundle: Path,
    data: Path,
    label: str | None,
    output: Path,
    keep: Path | None,
    form: str | None,
    keyring: Path | None,
    **given: Any,
) -> None:
    """Learn rules from the records of a file, prove them on a part of it, and write them for people to read.

    With the stated confidence every rule is right on at least the target's share of records like these. Give records
    that the model was not trained on, if you have them: the rules do not mind, but the model agrees with itself too
    readily on its own.
    """
    from edgeml.builder.rule_lesson import learn_options, lesson_of_records
    from edgeml.bundles import Bundle, Keyring
    from edgeml.cli.records import bar, opened, require_records
    from edgeml.runtime import predictor_of
    from edgeml.runtime.record_file import RecordFile

    if keyring is None:
        click.echo(NOT_CHECKED, err=True)
    options = learn_options(given)
    if not output.parent.is_dir():
        raise click.UsageError(f"-o {output}: there is no folder {output.parent}; make it")
    read = Bundle.read(bundle, keyring=Keyring.read(keyring) if keyring else None)
    predictor = require_records(predictor_of(read), bundle)
    records = []
    with opened(data, form) as (stream, known, size), bar("reading", size) as told:
        file = RecordFile(stream, known, predictor.schema)
        for item in file:
            if item.error is not None:
                raise item.error
            records.append(item.record)
            told(len(records), file.bytes_read)
    lesson, refused = lesson_of_records(predictor, records, label, options=options, keep=keep)
    if keep is not None and keep.parent.resolve() != output.parent.resolve():
        for name, table in lesson.document.get("tables", {}).items():
            if "file" in table:
                raise click.UsageError(
                    f"-o {output}: table {name!r} is in a file that is named from {keep.parent}; write the rules there"
                )
    output.write_text(lesson.text, encoding="utf-8")
    _show(lesson, predictor.labels, len(records), refused)
    click.echo(printable(f"written to {output}; look at it, then build with rules={str(output)!r}"), err=True)


def _show(lesson: Any, labels: Any, records: int, refused: int) -> None:
    from edgeml.cli.tables import row, show, table

    learned = lesson.learned
    figures = ("conditions", "proving rows", "right", "precision", "at least", "coverage", "model agrees")
    shown = table(f"Rules of {records} records", "label", "kind", *figures, "outcome", right=figures)
    for candidate, proof in zip(learned.candidates, learned.proofs, strict=True):
        row(
            shown,
            labels[candidate.label],
            candidate.kind,
            candidate.conditions,
            proof.rows,
            proof.right,
            f"{proof.right / max(1, proof.rows):.2%}",
            f"{proof.lower:.2%}" if proof.proven else "",
            f"{proof.coverage:.2%}",
            "" if proof.agreement is None else f"{proof.agreement:.2%}",
            "proven" if proof.proven else "not proven",
        )
    show(shown)
    if refused:
        click.echo(f"{refused} records do not fit the bundle's schema and were left out")
    for at, need in sorted(learned.unproven.items()):
        if need:
            click.echo(printable(f"{labels[at]}: some {need} records more are needed to prove a rule"))
    if not lesson.documents:
        click.echo("no rule could be proven: give more records, a lower --target, or a larger --max-points")
