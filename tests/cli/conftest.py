"""One bundle that the command has built, for all tests of the commands."""

import pytest
from cli.shell import SCRIPT, run


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A folder with ``train.py`` and the bundle ``iris.edgeml`` (features a, b, c and d) made of it."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "train.py").write_text(SCRIPT)
    done = run("build", "train.py", "-o", "iris.edgeml", "--version", "7", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "parity" in done.stderr and "0 labels differ" in done.stderr and "iris 7" in done.stderr
    return folder
