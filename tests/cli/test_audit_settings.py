"""What the operator says of audits and of rules that are wrong."""

import json

from cli.shell import run

from edgeml.bundles.box_settings import BoxSettings
from edgeml.bundles.store import Store


def test_audits_are_set_shown_and_set_back(tmp_path):
    root = tmp_path / "store"
    Store.create(root, keyring=None, allow_unsigned=True)
    words = ("--audit", "0.02", "--audit-cpu", "0.1", "--audit-tolerance", "0.5", "--disable-rules", "disable")
    done = run("settings", *words, "--store", root, cwd=tmp_path)
    assert (
        "audits          2.000% of the answers of rules, at most 10.0% of a core; numbers agree within 0.5"
        in done.stdout
    )
    assert "wrong rules     disabled until the next bundle" in done.stdout
    granted = BoxSettings.read(root)
    assert (granted.audit_share, granted.audit_cpu_share, granted.audit_tolerance) == (0.02, 0.1, 0.5)
    assert granted.disable_rules == "disable"
    done = run("settings", "--audit", "0", "--no-audit-tolerance", "--json", "--store", root, cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (told["audit_share"], told["audit_tolerance"], told["audit_cpu_share"]) == (0.0, None, 0.1)
    done = run("settings", "--audit-tolerance", "1", "--no-audit-tolerance", "--store", root, cwd=tmp_path)
    assert done.returncode == 2 and "not both" in done.stderr


def test_rules_are_switched_by_the_service_alone(tmp_path):
    root = tmp_path / "store"
    store = Store.create(root, keyring=None, allow_unsigned=True)
    for words in (("rules", "disable", "big"), ("rules", "enable", "big", "--model", "door")):
        done = run(*words, "--store", root, cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert ("no service runs" if "--model" in words else "no bundle is installed") in done.stderr
    assert store.state().models == {}
