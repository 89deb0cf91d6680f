"""Every command of docs/watching.md is run, in order, on one box, with real traffic in between."""

import json
import re
import signal
import socket
import subprocess
import urllib.request

import pytest
from cli.test_releases_guide import ROOT, environment, shell, wait_for
from sklearn.datasets import load_iris
from supervisor.running_store import until

from edgeml.bundles.store import Store

GUIDE = (ROOT / "docs/watching.md").read_text()
BLOCKS = re.findall(r"(?:<!-- run: ([a-z]+) -->\n)?```sh\n(.*?)```", GUIDE, re.S)
SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

def train():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return {"pipeline": LogisticRegression(max_iter=500).fit(X, y), "X": X, "y": y, "name": "iris", "version": "1"}
"""


def flowers(**changed):
    frame = load_iris(as_frame=True).data
    frame.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return frame.assign(**changed)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    flowers().to_csv(tmp_path / "flowers.csv", index=False)
    shell(
        tmp_path,
        "edgeml build train.py -o iris-1.edgeml && edgeml init /var/lib/edgeml --allow-unsigned && "
        "edgeml install iris-1.edgeml && edgeml activate iris:1 --now",
    )
    return tmp_path


def test_every_block_is_marked():
    assert BLOCKS and {kind for kind, _ in BLOCKS} == {"sh", "background", "alarm"}


def test_the_guide_is_right(folder):
    ports = []
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    data, management = ports
    service, said = None, []
    try:
        for kind, code in BLOCKS:
            code = code.replace("8080", str(data)).replace("8081", str(management))
            if kind == "background":
                words = code.replace("/var/lib/edgeml", str(folder / "store")).split()
                service = subprocess.Popen(
                    words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                assert service.stdout.readline()
                wait_for(management)
                send(data, flowers())
                until(lambda: watched(folder)["iris"]["answered"] == 150, why="counts")
                continue
            if kind == "alarm":
                for _ in range(4):
                    send(data, flowers(petal_width=9.5))
                until(lambda: "petal_width" in watched(folder)["iris"]["drift_alarms"], why="an alarm")
            said.append(shell(folder, code))
    finally:
        if service is not None:
            service.send_signal(signal.SIGTERM)
            service.communicate(timeout=60)
    checked, looked, alarmed, _ = said
    assert json.loads((folder / "flowers-checked.json").read_text())["ok"] and "\nok" in checked
    assert "Watched" in looked and "All answers" in looked and "petal_length" in looked
    assert "ALARM: petal_width differs" in alarmed and "the alarm on petal_width is acknowledged" in alarmed
    assert "petal_width: the alarm was acknowledged" in " ".join(alarmed.split())
    document = json.loads((folder / "iris-watched.json").read_text())
    table = GUIDE.split("## The document")[1].split("`edgeml check --json` has")[0]
    assert [name for name in document if f"`{name}`" not in table] == []
    for part in ("drift", "quality", "validation", "monitors"):
        assert [name for name in document[part] if f"`{name}`" not in table and name != "budget_days"] == []
    assert not [event for event in Store(folder / "store").journal.entries() if event.event.kind == "watch"]


def watched(folder):
    found, _ = json.JSONDecoder().raw_decode(shell(folder, "edgeml status --json"))
    return found["watched"]


def send(port, frame):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/predict",
        json.dumps({"records": frame.to_dict(orient="records")}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert len(json.load(answer)["predictions"]) == len(frame)
