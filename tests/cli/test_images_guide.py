"""What docs/images.md shows is run, and its tables name what there is."""

import re
import subprocess
import sys

from cli.boxes import ROOT
from cli.test_releases_guide import environment, shell
from runtime.image_samples import SPEC

from edgeml import ImageSpec
from edgeml.runtime.image_spec import MAX_PIXELS, derived_numbers

GUIDE = (ROOT / "docs/images.md").read_text()
BLOCKS = re.findall(r"<!-- run: (file \S+|[a-z]+) -->\n```(?:sh|python)\n(.*?)```", GUIDE, re.S)


def test_the_guide_is_right(tmp_path):
    for kind, code in BLOCKS:
        if kind.startswith("file "):
            (tmp_path / kind.removeprefix("file ")).write_text(code)
        elif kind == "sh":
            shell(tmp_path, code)
        else:
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.split() == ["3", "3"]


def test_every_member_and_number_is_named():
    table = GUIDE.split("## What the model sees")[1].split("All take the centres")[0]
    assert [name for name in ImageSpec.__struct_fields__ if f"`{name}`" not in table] == []
    numbers = GUIDE.split("## What is counted")[1].split("## ONNX")[0]
    for name, _, _ in derived_numbers(SPEC):
        word = name if name[-1].isalpha() else name[:-1]
        assert word in numbers
    assert f"{ImageSpec(width=1, height=1).max_pixels:,}" in GUIDE and f"{MAX_PIXELS:,}" in GUIDE
