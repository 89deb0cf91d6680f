"""The face only hands on names, and keeps its word."""

import ast
from pathlib import Path

import pytest

import edgeml

FACE = Path(edgeml.__file__)


def test_all_is_sorted_and_complete():
    assert list(edgeml.__all__) == sorted(edgeml.__all__)
    for name in edgeml.__all__:
        assert getattr(edgeml, name) is not None
    public = {
        name for name, value in vars(edgeml).items() if not name.startswith("_") and not hasattr(value, "__path__")
    }
    modules = {path.stem for path in FACE.parent.glob("*.py")}
    assert public - modules - {"TYPE_CHECKING"} <= set(edgeml.__all__)


def test_face_is_thin():
    assert len(FACE.read_text().splitlines()) < 40
    assert not [
        node for node in ast.walk(ast.parse(FACE.read_text())) if isinstance(node, (ast.ClassDef, ast.For, ast.While))
    ]


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgeml.nothing


@pytest.mark.parametrize("room", ["bundles", "runtime", "monitor", "serving", "builder", "fleet", "cli", "kernels"])
def test_a_room_states_its_law_and_sorts_its_names(room):
    tree = ast.parse((FACE.parent / room / "__init__.py").read_text())
    assert len(ast.get_docstring(tree) or "") > 100
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
            assert names == sorted(names)


def test_every_module_says_what_it_is_for():
    for path in FACE.parent.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_every_kernel_has_a_documented_stub():
    root = FACE.parent.parent
    kernels = sorted(root.glob("ext/*.pyx"))
    assert kernels
    for path in kernels:
        stub = FACE.parent / "kernels" / f"{path.stem}.pyi"
        tree = ast.parse(stub.read_text())
        assert ast.get_docstring(tree), stub
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{stub}: {node.name}"
