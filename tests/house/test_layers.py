"""Layers run one way: who may import whom, no cycles, one place for each third-party package.

Imports under TYPE_CHECKING and inside functions count: a circle that is hidden from the interpreter is not hidden
from the reader.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "edgeml"

# room -> rooms of edgeml that it may import
ROOMS = {
    "errors": set(),
    "kernels": set(),
    "bundles": {"errors"},
    "monitor": {"kernels", "errors"},
    "runtime": {"bundles", "monitor", "kernels", "errors"},
    "serving": {"runtime", "monitor", "bundles", "kernels", "errors"},
    "supervisor": {"bundles", "monitor", "errors"},
    "builder": {"runtime", "monitor", "bundles", "errors"},
    "fleet": {"bundles", "errors"},
    "cli": {"builder", "fleet", "supervisor", "serving", "runtime", "monitor", "bundles", "errors"},
    "__main__": {"cli"},
    "__init__": {"bundles", "builder", "runtime", "errors"},
}
# third-party package -> files or folders of edgeml that may import it; a package that is not here is refused
THIRD_PARTY = {
    "cheroot": {"supervisor/management.py"},
    "PIL": {"runtime/picture.py"},
    "click": {"cli"},
    "cryptography": {"bundles/signing.py"},
    "flask": {"serving/pages.py", "supervisor/management_app.py"},
    "msgspec": {
        "runtime",
        "serving",
        "cli/predict.py",
        "cli/explained.py",
        "monitor/capture_file.py",
        "monitor/capture_source.py",
    },
    "matplotlib": {"builder/trade_plot.py"},
    "numpy": {"runtime", "builder", "serving/tensors.py", "serving/admission.py", "cli/build.py"},
    "onnx": {"builder"},
    "onnxruntime": {"runtime/onnx_session.py"},
    "pandas": {"builder"},
    "pint": {"builder/units.py"},
    "prometheus_client": {"supervisor/metrics.py"},
    "re2": {"runtime/regular_expressions.py"},
    "rich": {"cli"},
    "ruamel": {"builder/rule_format.py"},
    "scipy": {
        "builder/export_kernels.py",
        "builder/feature_steps.py",
        "builder/middle_threshold.py",
        "builder/rule_growing.py",
        "builder/rule_literals.py",
        "builder/rule_proof.py",
        "builder/scorecard_learning.py",
    },
    "skl2onnx": {"builder/export_skl2onnx.py"},
    "sklearn": {"builder"},
    "urllib3": {"bundles/registry_link.py"},
    "werkzeug": {"serving/pages.py", "supervisor/management_app.py"},
    "yaml": {"builder/rule_writing.py", "builder/written_document.py"},
    "z3": {"builder/rule_logic.py", "builder/rule_lints.py"},
}


MODULES: dict[str, Path] = {}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full path"
            assert node.module is not None
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            # What is taken out of a room's folder is the module in it, not the room's face.
            names |= parts if parts <= MODULES.keys() else parts | {node.module}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    return names


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


MODULES.update(modules())


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_the_rooms_below_it(module):
    room = room_of(module)
    for name in imports_of(MODULES[module]):
        if name == "edgeml":
            assert room == "__main__", f"{module} imports the face; import the room itself"
        if not name.startswith("edgeml."):
            continue
        target = room_of(name)
        assert target == room or target in ROOMS[room], f"{module} ({room}) must not import {name}"


def strangers(path: Path, where: str) -> set[str]:
    """Packages that are neither Python's own nor allowed in this file."""
    found = set()
    for name in imports_of(path):
        package = name.split(".")[0]
        if package == "edgeml" or package in sys.stdlib_module_names:
            continue
        places = THIRD_PARTY.get(package, set())
        if not any(where == place or where.startswith(f"{place}/") for place in places):
            found.add(package)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_third_party_package_is_known_in_one_place(module):
    where = MODULES[module].relative_to(PACKAGE).as_posix()
    assert not strangers(MODULES[module], where), f"{where} imports what the table does not allow it"


def test_a_package_that_nobody_listed_is_refused(tmp_path):
    path = tmp_path / "new.py"
    path.write_text(
        "import json\nimport requests\nfrom numpy import array\n\ndef f():\n"
        "    import flask.json\n    return importlib.import_module('cheroot.http')\n"
    )
    assert strangers(path, "runtime/new.py") == {"requests", "flask", "cheroot"}
    assert strangers(path, "bundles/new.py") == {"requests", "flask", "cheroot", "numpy"}


def test_the_table_lists_no_place_that_needs_it_not():
    used = {
        (name.split(".")[0], path.relative_to(PACKAGE).as_posix())
        for path in MODULES.values()
        for name in imports_of(path)
    }
    for package, places in THIRD_PARTY.items():
        for place in places:
            at_home = any(name == package and f"{file}/".startswith(f"{place}/") for name, file in used)
            assert at_home, f"nothing in {place} imports {package}; strike it"


def test_every_room_of_the_table_exists():
    rooms = {room_of(module) for module in MODULES}
    assert rooms <= set(ROOMS)


def test_no_cycles():
    graph = {
        module: {name for name in imports_of(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    # Importing a module of a room runs the room's __init__; that edge is Python's, not the author's, so it is left out.
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, "cycle: " + " -> ".join((*above[above.index(module) :], module))
        if module in done:
            return
        for name in sorted(graph[module]):
            visit(name, (*above, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_the_layer_check_sees_hidden_imports(tmp_path):
    path = tmp_path / "hidden.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flask\n"
        "def f():\n    from edgeml.cli import main\n"
    )
    assert {"flask", "edgeml.cli", "edgeml.cli.main"} <= imports_of(path)


def test_no_basename_twice():
    seen: dict[str, Path] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name in ("__init__.py", "__main__.py"):
            continue
        # A command is named after what it runs; cli is a room of verbs, so its names may meet those of a room.
        key = f"cli/{path.name}" if path.parent.name == "cli" else path.name
        assert key not in seen, f"{path} and {seen[key]}"
        seen[key] = path


def test_files_stay_small():
    for path in [*PACKAGE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("models/**/*.py")]:
        assert len(path.read_text().splitlines()) <= 500, f"{path} has grown past 500 lines; split it"
