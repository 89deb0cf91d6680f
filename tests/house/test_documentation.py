"""What the documents say is so: the keys of the config, and the commands about keys."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from data.generate_bundles import GOOD

ROOT = Path(__file__).resolve().parents[2]


def test_the_format_names_every_key_of_a_config(penguins_bundle):
    text = (ROOT / "docs" / "bundle-format.md").read_text()
    table = text.split("## The config")[1].split("## Signatures")[0]
    assert [key for key in penguins_bundle.config if f"`{key}`" not in table] == []
    for part in ("parity", "outputs", "quality", "tiers"):
        assert [key for key in penguins_bundle.config[part] if f"`{key}`" not in table] == []


def test_the_commands_about_keys_run_in_order(tmp_path):
    text = (ROOT / "docs" / "keys.md").read_text()
    blocks = re.findall(r"```\n(.*?)```", text, re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if not line.startswith("edgeml trust")]
    GOOD.save(tmp_path / "door.edgeml")
    for name in ("ann", "ben", "cem", "dan"):
        run(tmp_path, "keygen", "--out", f"{name}.pem", "--keyring", f"{name}.json")
    assert [words[0] for words in commands] == ["keygen", "sign", "verify", "keyring", "sign", "sign", "keyring"]
    for words in commands:
        if words[:1] == ["keyring"] and "--after" not in words:
            (tmp_path / "keyring.json").unlink()  # the one of the section before
        run(tmp_path, *words)
    assert "2 of 3" in run(tmp_path, "verify", "door.edgeml", "--keyring", "keyring.json")


def run(folder, *words):
    done = subprocess.run(
        [sys.executable, "-m", "edgeml", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
