"""``edgeml push``: to real boxes on real ports, over links that break, several at once, and what they refuse."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles.registry_peers import Fault, FaultProxy, bundle_of, docker_registry
from bundles.releases import release
from bundles.test_registry_auth import authority  # noqa: F401
from cli.shell import run_in_a_terminal
from click.testing import CliRunner, Result
from data.generate_bundles import ALICE, BOB, MALLORY, ONE, TWO
from supervisor.boxes import Box, make_box

from edgeml.bundles import Bundle, sign
from edgeml.bundles.box_settings import change_settings
from edgeml.bundles.layout import EMPTY
from edgeml.bundles.order import Order
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_push import BundleSource
from edgeml.bundles.registry_push import push as push_bundle
from edgeml.bundles.state import bare
from edgeml.bundles.store import StoreLimits
from edgeml.bundles.store_pull import pull_reference
from edgeml.cli import main
from edgeml.errors import AdmissionError
from edgeml.supervisor.management import Tls

MIB = 1024 * 1024


def bytes_of(bundle: Bundle) -> int:
    """What a box that has nothing of a bundle must get."""
    return sum(each.size for each in BundleSource(bundle).descriptors)


BIG = sign(bundle_of(8 * MIB), ALICE)
BIG_BYTES = bytes_of(BIG)


@pytest.fixture
def new_box(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def make(**options: Any) -> Box:
        boxes.append(make_box(tmp_path / f"box-{len(boxes)}", **options))
        return boxes[-1]

    yield make
    for box in boxes:
        box.management.stop(grace_seconds=0.5)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with bundles and keyrings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for version in "12":
        release(version, size=50_000).save(tmp_path / f"{version}.edgeml")
    BIG.save(tmp_path / "big.edgeml")
    ONE.save(tmp_path / "keyring.json")
    TWO.save(tmp_path / "two.json")
    return tmp_path


def url(box: Box | FaultProxy) -> str:
    return f"http://127.0.0.1:{box.port}" if isinstance(box, Box) else f"http://{box.at}"


def run(*words: str, status: int = 0, token: str = "") -> Result:
    result = CliRunner().invoke(main, ["push", *words], env={"EDGEML_TOKEN": token or None})
    assert result.exit_code == status, result.output
    return result


def outcomes(*words: str, status: int = 0, token: str = "") -> list[dict[str, Any]]:
    return json.loads(run(*words, "--json", status=status, token=token).stdout)["boxes"]


def tokens_of(folder: Path, *boxes: Box) -> str:
    path = folder / "tokens"
    path.write_text("# whose\n" + "".join(f"127.0.0.1:{each.port} {each.token}\n" for each in boxes))
    return str(path)


def installed(box: Box, bundle: Bundle) -> bool:
    digest = bare(bundle.digest)
    return box.store.state().find(digest) is not None and box.store.read_bundle(digest).members == bundle.members


def test_a_bundle_is_installed_tried_and_nothing_is_sent_twice(files: Path, new_box: Any) -> None:
    box, one, two = new_box(), release("1", size=50_000), release("2", size=50_000)
    (first,) = outcomes("1.edgeml", url(box), "--keyring", "keyring.json", token=box.token)
    assert (first["box"], first["digest"], first["model"], first["state"]) == (
        url(box),
        one.digest,
        "door",
        "installed",
    )
    assert (first["error"], first["bytes_skipped"], first["resumes"]) == ("", len(EMPTY), 0) and installed(box, one)
    assert first["bytes_sent"] == sum(each.size for each in BundleSource(one).descriptors) - len(EMPTY)
    (again,) = outcomes("1.edgeml", url(box), "--activate", "--now", token=box.token)
    assert (again["bytes_sent"], again["state"]) == (0, "active")
    (other,) = outcomes("2.edgeml", url(box), "--activate", token=box.token)
    assert other["state"] == "trial" and other["bytes_skipped"] >= len(one.members["CARD.md"])
    model = box.store.state().models["door"]
    assert (model.active, model.candidate) == (bare(one.digest), bare(two.digest))
    assert box.serving["door"]["digest"] == two.digest


@pytest.mark.parametrize("mib", [8, pytest.param(200, marks=pytest.mark.crash)])
def test_ten_cuts_cost_a_tenth_at_most(
    files: Path, new_box: Any, mib: int, record_property: Callable[[str, object], None]
) -> None:
    """The promise is about 200 MB, and holds in proportion: a small one is tried with every change."""
    box, bundle = new_box(), sign(bundle_of(mib * MIB), ALICE)
    bundle.save(files / "cut.edgeml")
    size = bytes_of(bundle)
    cuts = [Fault(cut_up=size // 12 + 10_007 * number) for number in range(10)]
    with FaultProxy(box.port, cuts) as proxy:
        (outcome,) = outcomes("cut.edgeml", url(proxy), token=box.token)
    # What has passed the link; bytes_sent counts what was given to the kernel, too, and died in its buffers.
    figure = (
        f"push of {size / 1e6:.1f} MB over a link that was cut {outcome['resumes']} times: "
        f"{proxy.up_bytes / 1e6:.1f} MB passed, {proxy.up_bytes / size:.4f} times its size (at most 1.1)"
    )
    record_property("crash_figure", figure)
    print(figure)
    assert proxy.plan == [] and proxy.up_bytes <= 1.1 * size
    assert outcome["resumes"] == 10 and installed(box, bundle)


def test_a_push_that_gave_up_is_gone_on_with_when_it_is_made_again(files: Path, new_box: Any) -> None:
    box = new_box()
    with FaultProxy(box.port, [Fault(cut_up=BIG_BYTES // 2)]) as proxy:
        (broken,) = outcomes("big.edgeml", url(proxy), "--attempts", "1", token=box.token, status=1)
        assert "the link broke" in broken["error"]
        (outcome,) = outcomes("big.edgeml", url(proxy), token=box.token)
        assert proxy.up_bytes <= 1.1 * BIG_BYTES
    assert outcome["bytes_sent"] < 0.6 * BIG_BYTES < outcome["bytes_sent"] + outcome["bytes_skipped"]
    assert installed(box, BIG)


def test_several_boxes_at_once_of_which_some_fail(files: Path, new_box: Any, tmp_path: Path) -> None:
    good, other, wrong = new_box(), new_box(), new_box()
    tokens = Path(tokens_of(tmp_path, good, other))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        offline = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with tokens.open("a") as file:
        file.write(f"127.0.0.1:{wrong.port} wrong\n{offline} any\n")
    urls = [url(good), offline, url(wrong), url(other)]
    result = run("big.edgeml", *urls, url(good), "--token-file", str(tokens), "--attempts", "2", status=1)
    lines = [line for line in result.stdout.splitlines() if "http://" in line]
    assert len(lines) == 4, "a box that is named twice is pushed to once"
    by_box = {address: next(line for line in lines if address in line) for address in urls}
    assert "installed" in by_box[url(good)] and "installed" in by_box[url(other)]
    assert BIG.digest[:19] in by_box[url(good)] and "8.4 MB" in by_box[url(good)]
    assert "failed" in by_box[offline] and "failed" in by_box[url(wrong)]
    told = {line.partition(": ")[0]: line for line in result.stderr.splitlines()}
    assert "the link broke" in told[offline] and "401; give credentials" in told[url(wrong)]
    assert result.stderr.endswith("2 of 4 boxes failed\n")
    assert installed(good, BIG) and installed(other, BIG) and wrong.store.state().models == {}


def test_a_token_file_that_leaves_a_box_out_is_told_before_anything_is_sent(files: Path, new_box: Any) -> None:
    one, two = new_box(), new_box()
    said = run("1.edgeml", url(one), url(two), "--token-file", tokens_of(files, one), status=1)
    assert f"no line for 127.0.0.1:{two.port}" in said.stderr and one.store.state().models == {}
    (files / "tokens").write_text("a b c\n")
    assert "neither one token" in run("1.edgeml", url(one), "--token-file", "tokens", status=1).stderr


def test_one_token_in_a_file(files: Path, new_box: Any) -> None:
    box = new_box()
    (files / "token").write_text(box.token + "\n")
    (outcome,) = outcomes("1.edgeml", url(box), "--token-file", "token")
    assert outcome["state"] == "installed"


def test_orders_and_their_replays(files: Path, new_box: Any) -> None:
    box, one, two = new_box(device="pi-2", require_order=True), release("1", size=50_000), release("2", size=50_000)
    for name, bundle, seq in (("5", one, 5), ("4", two, 4)):
        order = Order("door", bare(bundle.digest), seq, "pi-2").sign(ALICE)
        (files / f"{name}.order").write_bytes(order.to_bytes())
    (none,) = outcomes("1.edgeml", url(box), "--activate", "--now", token=box.token, status=1)
    assert "without a signed order" in none["error"] and none["state"] == "installed"
    (done,) = outcomes("1.edgeml", url(box), "--activate", "--now", "--order", "5.order", token=box.token)
    assert done["state"] == "active"
    (replay,) = outcomes("2.edgeml", url(box), "--activate", "--order", "4.order", token=box.token, status=1)
    assert "order 4 is a replay" in replay["error"] and box.store.state().models["door"].candidate is None
    assert run("1.edgeml", url(box), "--activate", "--order", "1.edgeml", status=1).stdout == ""


def test_a_stolen_token_pushes_nothing_that_is_not_signed(files: Path, new_box: Any) -> None:
    box = new_box()
    release("7", keys=()).save(files / "unsigned.edgeml")
    release("8", keys=(MALLORY,)).save(files / "foreign.edgeml")
    for name in ("unsigned", "foreign"):
        (outcome,) = outcomes(f"{name}.edgeml", url(box), "--activate", token=box.token, status=1)
        assert "sign" in outcome["error"] and outcome["state"] == ""
    assert box.store.state().models == {}


def test_what_waits_for_more_signatures_is_not_called_installed(files: Path, new_box: Any) -> None:
    box = new_box(keyring=TWO)
    (outcome,) = outcomes("1.edgeml", url(box), token=box.token, status=1)
    assert "waits until more of the keys" in outcome["error"]
    sign(release("1", size=50_000), BOB).save(files / "1.edgeml")
    (outcome,) = outcomes("1.edgeml", url(box), token=box.token)
    assert outcome["state"] == "installed" and outcome["bytes_sent"] < 3000


def test_a_disk_that_is_full_is_told_and_the_box_goes_on(files: Path, new_box: Any) -> None:
    box = new_box(limits=StoreLimits(incoming_bytes=4 * MIB))
    (outcome,) = outcomes("big.edgeml", url(box), "--attempts", "2", token=box.token, status=1)
    assert "507" in outcome["error"] and "make room on its disk" in outcome["error"]
    (small,) = outcomes("1.edgeml", url(box), token=box.token)
    assert small["state"] == "installed"


def test_admission_refuses_and_the_reason_is_in_the_table(files: Path, new_box: Any) -> None:
    box = new_box()

    def refuse(digest: str) -> None:
        raise AdmissionError("golden row 3 is answered otherwise", code="golden_rows")

    box.admitted = refuse
    (outcome,) = outcomes("1.edgeml", url(box), "--activate", token=box.token, status=1)
    assert "golden row 3" in outcome["error"] and outcome["state"] == "rejected"


def test_a_file_that_is_not_good_is_not_sent(files: Path, new_box: Any) -> None:
    box = new_box()
    data = bytearray((files / "1.edgeml").read_bytes())
    data[-2000] ^= 1
    (files / "bad.edgeml").write_bytes(data)
    assert "bad.edgeml" in run("bad.edgeml", url(box), token=box.token, status=1).stderr
    said = run("1.edgeml", url(box), "--keyring", "two.json", token=box.token, status=1)
    assert "1.edgeml" in said.stderr and "sign" in said.stderr
    assert "No such file" in run("none.edgeml", url(box), token=box.token, status=1).stderr
    assert box.store.incoming.waiting() == {}


def test_from_a_store_to_a_neighbour(files: Path, new_box: Any) -> None:
    one, other = new_box(), new_box()
    one.store.install(BIG)
    (outcome,) = outcomes("door:1.0.0", url(other), "--from-store", str(one.store.root), token=other.token)
    assert outcome["state"] == "installed" and installed(other, BIG)


def test_boxes_fetch_it_from_a_registry_themselves(files: Path, new_box: Any, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry") as at:
        with Registry(at) as registry:
            push_bundle(registry, BundleSource(BIG), "shop/door")

        def puller(number: int) -> Any:
            return lambda reference, told: pull_reference(boxes[number].store, reference, told, who="api:tests")

        boxes: list[Box] = []
        for number in range(2):
            boxes.append(new_box(pull=puller(number)))
            change_settings(boxes[-1].store, listed=[at], who="tests")
        boxes.append(new_box())
        words = ("--from-registry", f"{at}/shop/door:1.0.0", "--token-file", tokens_of(tmp_path, *boxes))
        found = outcomes(*map(url, boxes), *words, "--activate", "--now", status=1)
    assert [each["state"] for each in found] == ["active", "active", ""]
    assert found[0]["bytes_sent"] is None and installed(boxes[0], BIG) and installed(boxes[1], BIG)
    assert "fetches nothing from registries" in found[2]["error"]


@pytest.mark.parametrize("asks", [False, True])
def test_tls_and_client_certificates(files: Path, new_box: Any, authority: Path, asks: bool) -> None:  # noqa: F811
    server, ca = authority / "server.pem", authority / "ca.pem"
    scopes = ("read", "push", "release") if asks else ()
    box = new_box(tls=Tls(server, server, ca if asks else None), certificate_scopes=scopes)
    words = ("1.edgeml", f"https://localhost:{box.port}", "--attempts", "1", "--activate", "--now")
    assert "not trusted" in outcomes(*words, token=box.token, status=1)[0]["error"]
    if asks:
        outcomes(*words, "--ca", str(ca), token=box.token, status=1)
        (done,) = outcomes(*words, "--ca", str(ca), "--cert", str(authority / "client.pem"))
    else:
        (done,) = outcomes(*words, "--ca", str(ca), token=box.token)
    assert done["state"] == "active"


def test_nobody_waits_with_no_wait(files: Path, new_box: Any) -> None:
    box = new_box()
    (outcome,) = outcomes("1.edgeml", url(box), "--activate", "--no-wait", token=box.token)
    assert outcome["state"] == "activating"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("1.edgeml",), "say which boxes"),
        (("1.edgeml", "http://127.0.0.1:9", "--now"), "go with --activate"),
        (("--from-registry", "127.0.0.1:9/door:1", "1.edgeml", "http://127.0.0.1:9"), "takes no FILE"),
        (("1.edgeml", "http://127.0.0.1:9", "--token", "a", "--token-file", "1.edgeml"), "not both"),
        (("--from-registry", "a/b:1", "http://127.0.0.1:9", "--activate", "--no-wait"), "needs --wait"),
    ],
)
def test_wrong_usage(files: Path, words: tuple[str, ...], told: str) -> None:
    assert told in run(*words, status=2).stderr


def test_addresses_have_no_path(files: Path) -> None:
    assert "has a path" in run("1.edgeml", "http://127.0.0.1:9/door", status=1).stderr


def test_bars_where_somebody_is_watching(files: Path, new_box: Any) -> None:
    one, two = new_box(), new_box()
    status, drawn = run_in_a_terminal(
        "push", "big.edgeml", url(one), url(two), "--token-file", tokens_of(files, one, two), cwd=files
    )
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert status == 0, drawn
    for box in (one, two):
        assert f"127.0.0.1:{box.port}" in plain and installed(box, BIG)
    assert "8.4/8.4 MB" in plain and "sending" in plain
