"""``edgeml build``: from a training script or an ONNX model to a bundle file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The bundle file to write.")
@click.option("--version", help="Version label, in place of the script's.")
@click.option("--name", help="Name, in place of the script's (for an ONNX model: default its file name).")
@click.option(
    "--schema", type=click.Path(path_type=Path), help="For an ONNX model: a JSON file with inputs and outputs."
)
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="For an ONNX model that takes pictures: a JSON file with the members of ImageSpec, and labels.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="For an ONNX model: a .npz file, one array for each input; with --image a folder of pictures.",
)
def build(
    source: Path,
    output: Path,
    version: str | None,
    name: str | None,
    schema: Path | None,
    image: Path | None,
    samples: Path | None,
) -> None:
    """Build a bundle from SOURCE: a script with a function train(), or a file model.onnx.

    train() returns a dict of the arguments of edgeml.build: pipeline (fitted), X, y, name, version, and what else it
    takes (held_out, rules, features, ...).
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    overrides = {word: text for word, text in (("version", version), ("name", name)) if text is not None}
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None)

        def say(step: str, number: int, total: int) -> None:
            bar.update(task, description=step, completed=number, total=total)

        bundle = _build(source, overrides, schema, image, samples, say)
    bundle.save(output)
    _report(console, bundle, output)


def _build(
    source: Path, overrides: dict[str, Any], schema: Path | None, image: Path | None, samples: Path | None, say: Any
) -> Any:
    from edgeml.builder import build as build_bundle
    from edgeml.builder.script import build_script
    from edgeml.errors import BuildError

    if source.suffix != ".onnx":
        return build_script(source, overrides=overrides, progress=say)
    arguments = {"name": source.stem.lower(), "version": "1"} | overrides
    if image is not None:
        return build_bundle(source, progress=say, **_of_pictures(image, samples), **arguments)
    if schema is None:
        raise BuildError(
            "a bare ONNX model needs --schema FILE: {'inputs': [{'name', 'datatype', 'shape'}], 'outputs': [...]}"
        )
    import numpy as np

    try:
        document = json.loads(schema.read_text(encoding="utf-8"))
        arrays = dict(np.load(samples, allow_pickle=False)) if samples else None
    except (OSError, ValueError) as error:
        raise BuildError(
            f"{schema if samples is None else f'{schema} or {samples}'} cannot be read: {error}"
        ) from error
    return build_bundle(source, arrays, schema=document, progress=say, **arguments)


def _of_pictures(image: Path, samples: Path | None) -> dict[str, Any]:
    """What ``edgeml.build`` takes for a model of pictures."""
    from edgeml.errors import BuildError

    if samples is None or not samples.is_dir():
        raise BuildError(
            "a model that takes pictures needs --samples FOLDER: some PNG or JPEG files like those to come"
        )
    try:
        spec = json.loads(image.read_text(encoding="utf-8"))
        pictures = [path for path in sorted(samples.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    except (OSError, ValueError) as error:
        raise BuildError(f"{image} or {samples} cannot be read: {error}") from error
    if not isinstance(spec, dict):
        raise BuildError(f'{image} must hold an object such as {{"width": 224, "height": 224, "labels": [...]}}')
    return {"X": pictures, "labels": spec.pop("labels", None), "image": spec}


def _report(console: Any, bundle: Any, output: Path) -> None:
    config = bundle.config
    parity = config["parity"]
    console.print(f"[bold]{config['name']} {config['version']}[/bold]  {bundle.digest}")
    if parity["rows"]:
        console.print(
            f"parity: {parity['rows']} rows, {parity['flips']} labels differ, "
            f"largest difference {parity['max_difference']:.2g} (allowed {config['tolerance']:g})"
        )
    else:
        console.print("parity: not checked, for no sample tensors were given (--samples)")
    tiers = config.get("tiers")
    if tiers:
        total = sum(tiers.values())
        console.print("tiers:  " + ", ".join(f"{tier} {count / total:.1%}" for tier, count in tiers.items() if count))
    quality = config.get("quality")
    if quality:
        console.print("quality: " + ", ".join(f"{name} {value:.4g}" for name, value in quality["overall"].items()))
    # Never wrapped: a command that is broken in two cannot be copied.
    size = f"{output.stat().st_size / 1024:.0f} KiB"
    click.echo(
        f"written to {output} ({size}); sign it with: edgeml sign {shlex.quote(str(output))} --key KEY", err=True
    )
