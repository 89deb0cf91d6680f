"""The files in deploy/ about metrics: they name what there is, fit together, and pass Prometheus' own tool."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from supervisor.metric_facts import everything
from supervisor.prometheus_tools import program

from edgeml.supervisor.metric_names import METRICS
from edgeml.supervisor.metrics import TIERS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

ALERTS = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())
BOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [each["query"]["query"] for each in BOARD["templating"]["list"] if each["type"] == "query"]
EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for rule in RULES),
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *((query, query) for query in QUERIES),
]
# Labels that Prometheus puts on, and those of the series that have no name of their own.
ADDED = {"job", "instance", "le"}


def named(expression):
    """Names of metrics in an expression, with the labels that stand in braces behind each."""
    for match in re.finditer(r"\bedgeml_\w+", expression):
        braces = re.match(r"\{([^}]*)\}", expression[match.end() :])
        yield match.group(), re.findall(r"(\w+)\s*[=!]~?", braces.group(1)) if braces else []


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_there_are(title, expression):
    found = list(named(expression))
    assert found or expression == 'up{job=~"edgeml.*"} == 0'
    known = set()
    for name, labels in found:
        metric = METRICS.get(name) or METRICS[re.sub("_(bucket|sum|count)$", "", name)]
        assert (metric.kind == "histogram") == name.endswith("_bucket")
        assert set(labels) <= {*metric.labels, *ADDED}, f"{title}: {name}"
        known |= {*metric.labels, *ADDED}
    for clause in re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", clause)) <= known, f"{title}: {clause}"
    for tier in re.findall(r'tier="(\w+)"', expression):
        assert tier in TIERS


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_a_counter_is_never_shown_as_it_stands(title, expression):
    for name, _ in named(expression):
        if METRICS.get(name) and METRICS[name].kind == "counter" and "capture" not in name:
            assert re.search(rf"(rate|increase)\({name}\b", expression), f"{title}: {name}"


def test_values_of_labels_in_expressions_are_those_of_a_box():
    text = everything().text()
    wanted = {
        pair
        for _, expression in EXPRESSIONS
        for pair in re.findall(r'\b(tier|objective|speed|state|measure)="(\w+)"', expression)
    }
    assert wanted >= {("speed", "fast"), ("state", "new"), ("measure", "accuracy"), ("objective", "p99")}
    for label, value in wanted:
        assert f'{label}="{value}"' in text, (label, value)
    for windows in re.findall(r'window=~"([^"]+)"', str(EXPRESSIONS)):
        assert all(f'window="{each}"' in text for each in windows.split("|"))


def test_what_must_be_alerted_is():
    told = {name for rule in RULES for name, _ in named(rule["expr"])}
    assert told >= {
        *("edgeml_drift_alarm", "edgeml_objective_burning", "edgeml_worker_up", "edgeml_store_degraded"),
        *("edgeml_refused_records_total", "edgeml_quality_realised_high_ratio", "edgeml_capture_failing"),
    }
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    tests = (DEPLOY / "prometheus-alerts-test.yml").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert rule["alert"] in tests, f"{rule['alert']} has no test"


def test_labels_in_the_texts_of_an_alert_are_those_of_its_series():
    for rule in RULES:
        labels = {label for name, _ in named(rule["expr"]) for label in METRICS[name].labels} | ADDED
        grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
        if grouped:
            labels = set(re.findall(r"\w+", grouped.group(1)))
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert used <= labels, rule["alert"]


def test_panels_have_places_sources_and_texts():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            labels = {label for name, _ in named(target["expr"]) for label in (*METRICS.get(name, NONE).labels, *ADDED)}
            labels |= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]
    variables = {each["name"] for each in BOARD["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$(\w+)", " ".join(e for _, e in EXPRESSIONS))) - {"labels"} <= variables


NONE = next(metric for metric in METRICS.values() if not metric.labels)


def test_the_piece_for_prometheus_asks_for_the_right_path_with_a_token():
    (job,) = yaml.safe_load((DEPLOY / "prometheus-scrape.yml").read_text())["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("edgeml", "/metrics")
    assert job["authorization"]["type"] == "Bearer" and job["authorization"]["credentials_file"]
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:8081"]


# Prometheus' own tool


@pytest.fixture(scope="module")
def promtool():
    return program("promtool")


def run(promtool, *words, given=None):
    return subprocess.run([promtool, *words], cwd=DEPLOY, input=given, capture_output=True, text=True, check=False)


def test_promtool_takes_rules_and_scrape_config(promtool):
    done = run(promtool, "check", "rules", "prometheus-alerts.yml")
    assert done.returncode == 0 and f"{len(RULES)} rules found" in done.stdout, done.stderr
    done = run(promtool, "check", "config", "--syntax-only", "prometheus-scrape.yml")
    assert done.returncode == 0, done.stderr


def test_alerts_come_and_go_as_they_should(promtool):
    done = run(promtool, "test", "rules", "prometheus-alerts-test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_alerts_would_notice(promtool, tmp_path):
    for name in ("prometheus-alerts.yml", "prometheus-alerts-test.yml"):
        text = (DEPLOY / name).read_text()
        (tmp_path / name).write_text(text.replace("edgeml_drift_alarm == 1 unless", "edgeml_drift_alarm == 0 unless"))
    done = subprocess.run(
        [promtool, "test", "rules", "prometheus-alerts-test.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0 and "EdgemlDrift" in done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_of_a_scrape(promtool):
    done = run(promtool, "check", "metrics", given=everything().text())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run(promtool, "check", "metrics", given="# TYPE edgeml_x counter\nedgeml_x 1\n")
    assert done.returncode != 0  # it would say something


def test_expressions_of_the_dashboard_are_promql(promtool, tmp_path):
    rules = [
        {"record": "a:b", "expr": expression.replace("$__rate_interval", "5m")}
        for _, expression in EXPRESSIONS
        if not expression.startswith("label_values")
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": str(i), "rules": [each]} for i, each in enumerate(rules)]}))
    done = run(promtool, "check", "rules", "--lint=none", str(path))
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr
