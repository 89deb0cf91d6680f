"""Long steps show that they go on, where somebody is watching, and leave nothing behind where nobody is."""

from cli.shell import SCRIPT, run, run_in_a_terminal


def test_predict_draws_a_bar_that_fills_up(built, tmp_path):
    (tmp_path / "many.csv").write_text("a,b,c,d\n" + "5.1,3.5,1.4,0.2\n" * 3000)
    status, drawn = run_in_a_terminal(
        "predict", built / "iris.edgeml", "many.csv", "-o", "answers.ndjson", cwd=tmp_path
    )
    assert status == 0, drawn
    assert "3000 records" in drawn and "100%" in drawn
    assert len((tmp_path / "answers.ndjson").read_text().splitlines()) == 3000


def test_build_names_its_steps(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    status, drawn = run_in_a_terminal("build", "train.py", "-o", "iris.edgeml", cwd=tmp_path)
    assert status == 0, drawn
    assert "training" in drawn and "packing" in drawn and "7/7" in drawn


def test_nobody_watching_no_bar(built, tmp_path):
    (tmp_path / "one.csv").write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n")
    done = run("predict", built / "iris.edgeml", "one.csv", cwd=tmp_path)
    assert done.returncode == 0 and "records" not in done.stderr and "\x1b" not in done.stderr
