"""A training script: what ``edgeml build train.py`` runs.

The script defines ``train()``, which returns the arguments of ``edgeml.build`` as a dict: at least ``pipeline``,
``X``, ``name`` and ``version``. It runs with its own folder as the first place to import from, as ``python train.py``
would. It is the author's own code on the author's own machine: nothing of it goes into the bundle.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from edgeml.builder.build import Progress, build
from edgeml.bundles import Bundle
from edgeml.errors import BuildError

NEEDED = ("pipeline", "name", "version")


def arguments_of(path: str | Path) -> dict[str, Any]:
    """Runs the script and calls its ``train()``.

    Args:
        path: The script.

    Returns:
        The arguments of ``edgeml.build``.

    Raises:
        BuildError: There is no such file, it has no ``train``, or ``train`` does not return what it must.
    """
    script = Path(path)
    if not script.is_file():
        raise BuildError(f"there is no training script {script}")
    folder = str(script.resolve().parent)
    sys.path.insert(0, folder)
    try:
        module = runpy.run_path(str(script), run_name="edgeml_train")
        train = module.get("train")
        if not callable(train):
            raise BuildError(
                f"{script} has no function train(); define one that returns a dict of edgeml.build's arguments"
            )
        arguments = train()
    finally:
        sys.path.remove(folder)
    if not isinstance(arguments, dict):
        raise BuildError(
            f"{script}: train() must return a dict of edgeml.build's arguments, not {type(arguments).__name__}"
        )
    missing = [name for name in NEEDED if name not in arguments]
    if missing:
        raise BuildError(f"{script}: train() must also return {', '.join(map(repr, missing))}")
    return arguments


def build_script(
    path: str | Path, *, overrides: dict[str, Any] | None = None, progress: Progress | None = None
) -> Bundle:
    """Builds the bundle that a training script describes.

    Args:
        path: The script.
        overrides: Arguments that take the place of the script's, such as ``version``.
        progress: As for ``edgeml.build``.

    Raises:
        BuildError: As ``arguments_of`` and ``edgeml.build``.
    """
    arguments = arguments_of(path) | (overrides or {})
    try:
        return build(**arguments, progress=progress)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise BuildError(f"{path}: train() returned something that edgeml.build does not take: {error}") from error
        raise
