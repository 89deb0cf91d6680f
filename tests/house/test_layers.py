"""Layers run one way: who may import whom, no cycles, one place for each third-party package.

Imports under TYPE_CHECKING and inside functions count: a circle that is hidden from the interpreter is not hidden
from the reader.
"""

import ast
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
    "serving": {"runtime", "monitor", "bundles", "errors"},
    "supervisor": {"bundles", "monitor", "errors"},
    "builder": {"runtime", "monitor", "bundles", "kernels", "errors"},
    "cli": {"builder", "supervisor", "serving", "runtime", "monitor", "bundles", "errors"},
    "__main__": {"cli"},
    "__init__": {"bundles", "builder", "runtime", "errors"},
}
# third-party package -> files or folders of edgeml that may import it
THIRD_PARTY = {
    "onnxruntime": {"runtime/onnx_session.py"},
    "cryptography": {"bundles/signing.py"},
    "urllib3": {"bundles/registry_link.py"},
    "flask": {"serving"},
    "granian": {"serving"},
    "werkzeug": {"serving"},
    "click": {"cli"},
    "rich": {"cli"},
    "sklearn": {"builder"},
    "skl2onnx": {"builder"},
    "onnx": {"builder"},
    "pandas": {"builder"},
    "yaml": {"builder/rule_source.py"},
    "numpy": {"runtime", "builder", "serving", "cli"},
    "msgspec": {"runtime", "serving", "cli"},
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


@pytest.mark.parametrize("module", MODULES)
def test_a_third_party_package_is_known_in_one_place(module):
    where = MODULES[module].relative_to(PACKAGE).as_posix()
    for name in imports_of(MODULES[module]):
        allowed = THIRD_PARTY.get(name.split(".")[0])
        if allowed is not None:
            assert any(where == place or where.startswith(f"{place}/") for place in allowed), f"{where} imports {name}"


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
