"""edgeml tiers: costs, points and the choice for a budget; the bundle that it writes answers as was shown."""

import json

import pytest
from cli.shell import run
from click.testing import CliRunner
from runtime.middle_samples import arguments, records_of, table

import edgeml
from edgeml.builder.trade_plot import plot_trade
from edgeml.bundles import Bundle
from edgeml.cli import main
from edgeml.errors import BuildError
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.trade import Point


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiers")
    edgeml.build(**arguments()).save(folder / "wires.edgeml")
    X, y = table(300, 6)
    rows = [record | {"topic": str(label)} for record, label in zip(records_of(X), y, strict=True)]
    (folder / "later.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


PAIRS = [(None, 0.0), (0.9, 0.2), (0.5, 0.9)]


def refused(folder, options, status, data="later.ndjson"):
    """In this process: what is refused is so before anything is measured."""
    words = ["tiers", "--bundle", folder / "wires.edgeml", "--data", folder / data, "--label", "topic", *options]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def tiers(folder, *options):
    words = ("tiers", "--bundle", "wires.edgeml", "--data", "later.ndjson", "--label", "topic")
    done = run(*words, *options, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_choice_is_shown_drawn_and_written(folder):
    budget = 0.03
    report = json.loads(tiers(folder, "--accuracy-budget", budget, "--plot", "trade.svg", "-o", "new.edgeml", "--json"))
    assert report["records"] == {"choosing": 150, "showing": 150}
    assert set(report["costs"]) == {"rule", "middle", "model", "model only"}
    assert all(cost["wall_us"] > 0 and cost["records"] for cost in report["costs"].values())
    chosen, shown = report["chosen"]["choosing"], report["chosen"]["showing"]
    fit = [point for point in report["curve"] if point["model_accuracy"] - point["accuracy"] <= budget]
    assert chosen in fit and chosen["cost_us"] == min(point["cost_us"] for point in fit)
    assert (shown["threshold"], shown["rules"]) == (chosen["threshold"], chosen["rules"])
    assert sum(shown["shares"].values()) == pytest.approx(1.0)
    # More is answered before the model from one threshold to the next.
    before = [point["before_model"] for point in report["curve"] if point["cut"] == 0]
    assert before == sorted(before) and before[-1] == pytest.approx(1.0)
    assert (folder / "trade.svg").read_text().startswith("<?xml")

    new, old = Bundle.read(folder / "new.edgeml"), Bundle.read(folder / "wires.edgeml")
    assert new.config["parent"] == old.digest == report["written"]["parent"] and not new.signatures
    assert new.members["model.onnx"] == old.members["model.onnx"]
    counts = new.config["tiers"]
    assert {tier: count / 150 for tier, count in counts.items() if count} == pytest.approx(
        {tier: share for tier, share in shown["shares"].items() if share}
    )
    assert new.config["quality"]["overall"]["accuracy"] == pytest.approx(shown["accuracy"])
    predictor = Predictor.from_bundle(new)
    assert predictor.golden_check().passed and predictor.golden_check().rows > 20
    assert new.config["middle"]["chosen"] == shown and "bound" in old.config["middle"]
    assert not {"budget", "confidence", "rows", "lost", "bound"} & set(new.config["middle"])
    assert "Thresholds chosen later" in new.members["CARD.md"].decode()


def test_people_read_a_table(folder):
    said = tiers(folder, "--cost-budget", "1000000")
    for words in ("Cost of an answer here", "Points, on the 150 records that choose", "On the other 150", "as it is"):
        assert words in said
    assert "records are answered before the full model" in said.replace("\n", " ")


def test_a_picture_is_of_two_kinds(tmp_path):
    points = [
        Point(0.0, 1, t, 10, {"rule": 0.1, "middle": m, "model": 0.9 - m}, 0.9, 0.9, 0, 0.3, 9.0) for t, m in PAIRS
    ]
    for name, start in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        plot_trade(points, points[0], tmp_path / name, "wires 1")
        first = (tmp_path / name).read_bytes()
        plot_trade(points, points[0], tmp_path / name, "wires 1")
        assert first.startswith(start) and (tmp_path / name).read_bytes() == first
    with pytest.raises(BuildError, match="written as .svg or .png"):
        plot_trade(points, None, tmp_path / "a.gif", "")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--accuracy-budget", "1.5"], 2, "a share, at least 0 and below 1"),
        (["--cost-budget", "-1"], 2, "positive number of microseconds"),
        (["--cost-budget", "1", "--accuracy-budget", "0.1"], 2, "not both"),
        (["-o", "x.edgeml"], 2, "give --accuracy-budget or --cost-budget"),
        (["--plot", "x.gif"], 2, "written as .svg or .png"),
        (["--cost-budget", "0.000001"], 1, "the cheapest setting costs"),
        (["--label", "subject"], 1, "there is no column 'subject'; it has weight, where, remark, topic"),
        (["--label", "remark"], 1, "none of the labels"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(folder, options, status, message):
    assert message in refused(folder, options, status)


def test_too_few_records_are_refused(folder):
    lines = (folder / "later.ndjson").read_text().splitlines()[:10]
    (folder / "few.ndjson").write_text("\n".join(lines))
    assert "10 records are too few" in refused(folder, [], 1, data="few.ndjson")
