"""What a box must not load: importing the device's rooms brings no builder package, and the face stays thin."""

import json
import subprocess
import sys

import pytest

BUILDER_ONLY = ["sklearn", "pandas", "skl2onnx", "onnx", "scipy", "yaml", "ruamel", "z3"]


def loaded_by(statement: str) -> set[str]:
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(json.loads(out))


@pytest.mark.parametrize(
    "module",
    [
        "edgeml",
        "edgeml.runtime",
        "edgeml.serving",
        "edgeml.supervisor",
        "edgeml.supervisor.quarantine",
        "edgeml.supervisor.management_app",
        "edgeml.bundles",
        "edgeml.monitor",
        "edgeml.cli",
    ],
)
def test_the_device_loads_no_builder_package(module):
    assert not loaded_by(f"import {module}") & set(BUILDER_ONLY)


def test_the_runtime_loads_no_server_and_no_onnxruntime_binding():
    assert not loaded_by("import edgeml.runtime") & {"flask", "werkzeug", "onnxruntime", "click", "rich"}


@pytest.mark.parametrize(
    "module",
    [
        "edgeml.supervisor",
        "edgeml.supervisor.quarantine",
        "edgeml.supervisor.management",
        "edgeml.supervisor.management_app",
    ],
)
def test_the_supervisor_loads_nothing_that_could_kill_it(module):
    loaded = loaded_by(f"import {module}")
    assert not loaded & {"numpy", "onnxruntime", "edgeml.runtime", "edgeml.serving"}
    # Counts come as histograms, which check every byte that they are given; the frame comes with the room.
    assert {name for name in loaded if name.startswith("edgeml.kernels.")} <= {
        "edgeml.kernels.frame",
        "edgeml.kernels.histogram",
    }


def test_a_box_that_nobody_scrapes_loads_no_metrics():
    assert "prometheus_client" not in loaded_by("import edgeml.supervisor.box, edgeml.cli")
    assert "prometheus_client" in loaded_by("import edgeml.supervisor.metrics")


def test_the_command_line_loads_rooms_only_inside_commands():
    assert not {
        name for name in loaded_by("import edgeml.cli") if name.startswith(("edgeml.runtime", "edgeml.serving"))
    }


def test_build_is_found_on_the_face_only_when_asked_for():
    before = loaded_by("import edgeml")
    after = loaded_by("import edgeml; edgeml.build")
    assert "edgeml.builder" not in before
    assert {"edgeml.builder", "sklearn", "skl2onnx"} <= after


def test_the_budget_would_notice(tmp_path):
    assert "yaml" in loaded_by("import yaml")
