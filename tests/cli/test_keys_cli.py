"""``edgeml keygen``, ``sign``, ``verify``, ``keyring``: what a person types, what comes back, with which status."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from data.generate_bundles import GOOD, SIGNED

from edgeml.bundles import Keyring
from edgeml.cli import COMMANDS, main


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEML_KEY_PASSPHRASE", raising=False)
    GOOD.save("door.edgeml")


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status, result.output
    return result


def test_keygen_sign_verify() -> None:
    made = run("keygen")
    assert stat.S_IMODE(os.stat("key.pem").st_mode) == 0o600
    keyid = Keyring.read("keyring.json").keys[0].keyid
    assert keyid in made.output
    assert "PRIVATE" not in made.output

    refused = run("verify", "door.edgeml", "--keyring", "keyring.json", status=1)
    assert refused.stderr.startswith("error: door.edgeml: ") and "not signed at all" in refused.stderr
    assert refused.stdout == ""

    assert GOOD.digest in run("sign", "door.edgeml", "--key", "key.pem").output
    checked = run("verify", "door.edgeml", "--keyring", "keyring.json")
    assert GOOD.digest in checked.output and keyid in checked.output and "1 of 1" in checked.output
    assert sorted(os.listdir()) == ["door.edgeml", "key.pem", "key.pub", "keyring.json"]


@pytest.mark.parametrize("taken", ["key.pem", "key.pub", "keyring.json"])
def test_keygen_overwrites_nothing(taken: str) -> None:
    Path(taken).write_text("precious")
    assert "never overwritten" in run("keygen", status=1).stderr
    assert Path(taken).read_text() == "precious"
    assert sorted(os.listdir()) == sorted([taken, "door.edgeml"])


def test_a_key_with_a_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no terminal" in run("keygen", "--passphrase", status=2).stderr
    monkeypatch.setenv("EDGEML_KEY_PASSPHRASE", "open sesame")
    run("keygen", "--passphrase")
    assert b"ENCRYPTED" in Path("key.pem").read_bytes()
    run("sign", "door.edgeml", "--key", "key.pem")
    run("verify", "door.edgeml", "--keyring", "keyring.json")
    monkeypatch.setenv("EDGEML_KEY_PASSPHRASE", "shut")
    assert "is the passphrase right" in run("sign", "door.edgeml", "--key", "key.pem", status=1).stderr
    monkeypatch.delenv("EDGEML_KEY_PASSPHRASE")
    assert "put its passphrase into" in run("sign", "door.edgeml", "--key", "key.pem", status=2).stderr


def test_a_key_that_others_can_read_is_warned_about() -> None:
    run("keygen")
    os.chmod("key.pem", 0o644)
    assert "chmod 600 key.pem" in run("sign", "door.edgeml", "--key", "key.pem").stderr


def test_signing_into_another_file_leaves_the_first_as_it_was() -> None:
    run("keygen")
    before = Path("door.edgeml").read_bytes()
    run("sign", "door.edgeml", "--key", "key.pem", "--out", "signed.edgeml")
    assert Path("door.edgeml").read_bytes() == before
    run("verify", "signed.edgeml", "--keyring", "keyring.json")


def test_two_people_must_sign() -> None:
    for name in ("alice", "bob"):
        run("keygen", "--out", f"{name}.pem", "--keyring", f"{name}.json")
    run("keyring", "alice.pub", "bob.pub", "--threshold", "2", "--out", "both.json")
    run("sign", "door.edgeml", "--key", "alice.pem")
    assert "2 of 2" in run("verify", "door.edgeml", "--keyring", "both.json", status=1).stderr
    run("sign", "door.edgeml", "--key", "bob.pem")
    assert "good signatures: 2" in run("verify", "door.edgeml", "--keyring", "both.json").output


def test_a_keyring_is_followed_by_the_next() -> None:
    for name in ("old", "new"):
        run("keygen", "--out", f"{name}.pem", "--keyring", f"{name}.json")
    succession = ("keyring", "new.pub", "--after", "old.json", "--out", "next.json")
    assert "old keys" in run(*succession, "--key", "new.pem", status=1).stderr
    assert not Path("next.json").exists()
    run(*succession, "--key", "new.pem", "--key", "old.pem", "--expires", "2099-01-01T00:00:00Z")
    assert Keyring.read("old.json").accept(Keyring.read("next.json")).version == 2
    run("sign", "door.edgeml", "--key", "new.pem")
    run("verify", "door.edgeml", "--keyring", "next.json")
    assert "belong together" in run(*succession, status=2).stderr
    assert "never overwritten" in run(*succession, "--key", "old.pem", status=1).stderr


def test_wrong_usage_has_status_2() -> None:
    run("verify", "door.edgeml", status=2)
    run("verify", "missing.edgeml", "--keyring", "door.edgeml", status=2)
    run("sing", "door.edgeml", status=2)


def test_refusals_have_status_1_and_one_line() -> None:
    run("keygen")
    Path("cut.edgeml").write_bytes(SIGNED[:-700])
    for arguments in (
        ("verify", "cut.edgeml", "--keyring", "keyring.json"),
        ("verify", "door.edgeml", "--keyring", "key.pem"),
        ("sign", "door.edgeml", "--key", "key.pub"),
        ("keyring", "key.pem", "--out", "other.json"),
        ("sign", "door.edgeml", "--key", "key.pem", "--out", "no/such/folder.edgeml"),
        ("inspect", "key.pem"),
    ):
        result = run(*arguments, status=1)
        assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1, result.stderr
        assert not result.stdout


def test_a_hostile_message_cannot_drive_the_terminal() -> None:
    """The name of a tar entry is shown in the message; its control characters are not."""
    at = SIGNED.index(b"index.json")
    Path("evil.edgeml").write_bytes(SIGNED[:at] + b"\x1b[2J\x07evil.." + SIGNED[at + 10 :])
    stderr = run("inspect", "evil.edgeml", status=1).stderr
    assert "evil" in stderr and "\x1b" not in stderr and "\x07" not in stderr


def test_help_names_every_command_and_imports_none() -> None:
    script = (
        "import sys\nfrom edgeml.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "loaded = [name for name in sys.modules if name.startswith('edgeml.')]\nprint(sorted(loaded))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert output.stdout.splitlines()[-1] == "['edgeml.cli', 'edgeml.errors']"
    for name, lazy in COMMANDS.items():
        assert (f"\n  {name} " in output.stdout) == bool(lazy.line)


def test_as_a_program() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "edgeml", "verify", "door.edgeml", "--keyring", "door.edgeml"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: door.edgeml: the keyring is ")
