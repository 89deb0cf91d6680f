"""The command line for bundles that take pictures."""

import base64
import csv
import json

import pytest
from builder.test_image_bundle import network
from cli.shell import run
from runtime.image_samples import data, disks, file_of

PICTURES, COLOURS = data()
TEXTS = [base64.b64encode(file_of(each)).decode() for each in PICTURES[:4]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("disks") / "disks.edgeml"
    disks().save(path)
    return path


def test_build_from_an_onnx_model(tmp_path):
    (tmp_path / "disks.onnx").write_bytes(network())
    (tmp_path / "pictures").mkdir()
    for at, each in enumerate(PICTURES[:30]):
        (tmp_path / "pictures" / f"{at}.{'jpg' if at % 2 else 'PNG'}").write_bytes(
            file_of(each, "JPEG" if at % 2 else "PNG")
        )
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    spec = {
        "width": 8,
        "height": 6,
        "layout": "chw",
        "scale": 1 / 255,
        "mean": [0.0],
        "labels": ["red", "green", "blue"],
    }
    (tmp_path / "image.json").write_text(json.dumps(spec))
    words = ("build", "disks.onnx", "--image", "image.json", "-o", "disks.edgeml")
    done = run(*words, "--samples", "pictures", cwd=tmp_path)
    assert done.returncode == 0 and "0 labels differ" in done.stderr, done.stderr
    for more, message in [((), "--samples FOLDER"), (("--samples", "image.json"), "--samples FOLDER")]:
        done = run(*words, *more, cwd=tmp_path)
        assert done.returncode != 0 and message in done.stderr
    (tmp_path / "image.json").write_text("[]")
    assert "must hold an object" in run(*words, "--samples", "pictures", cwd=tmp_path).stderr
    (tmp_path / "image.json").write_text('{"width": 8, "height": 6, "colour": 1}')
    assert "colour" in run(*words, "--samples", "pictures", cwd=tmp_path).stderr


def test_predict(bundle, tmp_path):
    (tmp_path / "a.ndjson").write_text("".join(json.dumps({"image": each}) + "\n" for each in TEXTS))
    with (tmp_path / "a.csv").open("w") as file:
        csv.writer(file).writerows([["image"], *([each] for each in TEXTS)])
    for name in ("a.ndjson", "a.csv"):
        done = run("predict", bundle, name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == list(COLOURS[:4])


def test_a_bad_picture_is_named_by_its_line(bundle, tmp_path):
    (tmp_path / "a.ndjson").write_text(json.dumps({"image": TEXTS[0]}) + '\n{"image": "?"}\n')
    done = run("predict", bundle, "a.ndjson", cwd=tmp_path)
    assert done.returncode != 0 and "line 2" in done.stderr and "image" in done.stderr


def test_inspect_shows_what_is_derived(bundle, tmp_path):
    done = run("inspect", bundle, cwd=tmp_path)
    assert done.returncode == 0 and "image.json" in done.stdout
    assert "image.sharpness" in done.stdout and "image.red_1" in done.stdout


def test_check_and_bench_run(bundle, tmp_path):
    (tmp_path / "a.ndjson").write_text("".join(json.dumps({"image": each}) + "\n" for each in TEXTS))
    checked = run("check", "a.ndjson", "--bundle", bundle, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    benched = run("bench", bundle, "--seconds", "0.2", cwd=tmp_path)
    # 1 is for a machine that is too busy for the objectives.
    assert benched.returncode in (0, 1) and "Traceback" not in benched.stderr, benched.stderr
