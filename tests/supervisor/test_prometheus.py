"""Debian's Prometheus scrapes a real box with the files in deploy/, and answers what the dashboard asks."""

import json
from pathlib import Path

import pytest
import yaml
from supervisor.metric_facts import everything
from supervisor.prometheus_tools import program, prometheus, told
from supervisor.running_store import ROW, running, until

from edgeml.bundles.store import Store
from edgeml.supervisor.metric_names import METRICS
from edgeml.supervisor.tokens import Tokens

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def configured(folder, box, other, token):
    """The piece in deploy/ as an operator would fill it in, for two targets and less patience."""
    config = yaml.safe_load((DEPLOY / "prometheus-scrape.yml").read_text())
    (folder / "edgeml.token").write_text(token + "\n")
    (job,) = config["scrape_configs"]
    job["authorization"]["credentials_file"] = "edgeml.token"
    job["static_configs"][0]["targets"] = [box.removeprefix("http://"), other]
    job["scrape_interval"] = "1s"
    config["global"] = {"evaluation_interval": "1s"}
    (folder / "prometheus-alerts.yml").write_bytes((DEPLOY / "prometheus-alerts.yml").read_bytes())
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    return folder / "prometheus.yml"


def panels():
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m")
            for name in ("job", "instance", "model"):
                expression = expression.replace(f"${name}", ".*")
            yield panel["title"], expression


def test_a_box_is_scraped_and_each_panel_of_the_dashboard_has_an_answer(tmp_path, penguins_bundle):
    program("prometheus")
    root = tmp_path / "store"
    store = Store.create(root, keyring=None, allow_unsigned=True)
    store.activate(store.install(penguins_bundle), now=True)
    token = Tokens(root).create("prometheus", scopes=("read",))
    facts = everything()
    with running(root, manage_port=0) as box, told(facts.metrics.text) as full:
        config = configured(tmp_path, box.manage, full, token)
        with prometheus(config, tmp_path) as server:
            here = f'instance="{box.manage.removeprefix("http://")}"'
            until(lambda: server.query(f"edgeml_worker_up{{{here}}} == 1"), why="a scrape with the token")
            assert box.post("/v1/predict", {"records": [ROW] * 300})[0] == 200
            until(lambda: server.query(f"sum(edgeml_answers_total{{{here}}}) == 300"), why="answers are counted")
            scrapes = f'count_over_time(edgeml_worker_up{{instance="{full}"}}[5m]) > 2'
            until(lambda: server.query(scrapes), why="enough scrapes for a rate")
            assert {each["metric"]["__name__"] for each in server.query('{__name__=~"edgeml_.*"}')} == {
                *(name for name, metric in METRICS.items() if metric.kind != "histogram"),
                *(f"edgeml_answer_duration_seconds_{part}" for part in ("bucket", "sum", "count")),
            }
            empty = [(title, expression) for title, expression in panels() if not server.query(expression)]
            assert empty == []
            # The other target has drift that somebody has seen, and a budget that burns; the box has neither.
            wanted = {("EdgemlObjectiveBurnsFast", full), ("EdgemlQualityBelowReference", full)}
            firing = until(lambda: (found := fired(server)) >= wanted and found, why="alerts")
            assert ("EdgemlDrift", full) not in firing
            assert {instance for _, instance in firing} == {full}
        # Without the token the box is not to be had.
        (tmp_path / "edgeml.token").write_text("edgeml_wrong\n")
        (tmp_path / "second").mkdir()
        with prometheus(config, tmp_path / "second") as server:
            until(lambda: server.query(f"up{{{here}}} == 0"), why="a scrape without the token")
            assert server.query(f"edgeml_worker_up{{{here}}}") == []


def fired(server):
    firing = [each["labels"] for each in server.alerts() if each["state"] == "firing"]
    return {(each["alertname"], each["instance"]) for each in firing}


def test_a_query_that_is_wrong_would_be_noticed(tmp_path):
    (tmp_path / "prometheus.yml").write_text("{}\n")
    with prometheus(tmp_path / "prometheus.yml", tmp_path) as server:
        with pytest.raises(AssertionError, match="parse error"):
            server.query("sum by (tier) rate(edgeml_answers_total)")
