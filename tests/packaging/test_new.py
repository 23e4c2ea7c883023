"""What `podium plugins new` makes works: its tests pass, its style holds, a node loads it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner
from podium.cli import cli
from podium.cli.templates import KINDS, TemplateError, make_project, template

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
RUFF = ROOT / ".venv/bin/ruff"
LONGEST = "a-name-as-long-as-any-may-be-abc"
NAMES = {
    "pipeline": "captions",
    "executor": "x",
    "pricing": LONGEST,
    "worker": "a2-b3",
    "observer": "ears",
}

pytestmark = pytest.mark.timeout(300)


def run(*command, cwd):
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment with everything of ours, to which a project can be added."""
    env = tmp_path_factory.mktemp("env") / "env"
    run(UV, "venv", "-q", "--python", sys.executable, env, cwd=env.parent)
    here = sysconfig.get_path("purelib")
    (packages,) = env.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return env / "bin/python"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_passes_its_own_tests(kind, python, tmp_path):
    name = NAMES[kind]
    made = run(python, "-m", "podium", "plugins", "new", name, "--kind", kind, cwd=tmp_path)
    assert f"cd podium-{name}" in made
    project = tmp_path / f"podium-{name}"
    leftovers = [
        path
        for path in project.rglob("*")
        if f"{kind}-example" in str(path) or "byoc_example" in str(path)
        if "egg-info" not in str(path)
    ]
    assert not leftovers
    run(UV, "pip", "install", "-q", "-p", python, "--no-deps", "--no-build-isolation",
        "-e", project, cwd=tmp_path)  # fmt: skip
    passed = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in passed
    assert "skipped" not in passed
    if kind != "executor":
        listed = run(python, "-m", "podium", "plugins", "list", cwd=tmp_path)
        assert name in listed


@pytest.mark.parametrize("name", ["x", LONGEST])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_is_in_style_whatever_its_name(kind, name, tmp_path):
    project = make_project(name, kind, tmp_path / "new").folder
    run(RUFF, "check", "--no-cache", ".", cwd=project)
    run(RUFF, "format", "--no-cache", "--check", ".", cwd=project)


@pytest.mark.parametrize(
    "name", ["", "Upper", "1st", "a_b", "a--b", "-a", "a-", "../up", "a" * 33, "é", "a b"]
)
def test_a_name_that_cannot_be_is_refused(name, tmp_path):
    with pytest.raises(TemplateError, match="is no name"):
        make_project(name, "pipeline", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["transcode", "executor", "hookspecs"])
def test_the_name_of_an_installed_distribution_is_refused(name, tmp_path):
    with pytest.raises(TemplateError, match="is installed here"):
        make_project(name, "pipeline", tmp_path / "new")


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "full").mkdir()
    mine = tmp_path / "full" / "mine.txt"
    mine.write_text("mine")
    for folder in (tmp_path / "full", mine):
        with pytest.raises(TemplateError, match="is there already"):
            make_project("fresh", "pricing", folder)
    assert mine.read_text() == "mine"
    assert list((tmp_path / "full").iterdir()) == [mine]
    (tmp_path / "empty").mkdir()
    assert make_project("fresh", "pricing", tmp_path / "empty").files > 4


def test_without_a_name_and_without_a_terminal_it_says_so():
    result = CliRunner().invoke(cli, ["plugins", "new"], input="ignored\n")
    assert result.exit_code == 2
    assert "give the plugin's NAME" in result.output


def test_it_asks_where_somebody_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("podium.cli.new._somebody_is_there", lambda: True)
    result = CliRunner().invoke(cli, ["plugins", "new"], input="captions\npricing\n")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "podium-captions/src/podium_captions/plugin.py").is_file()


def test_the_template_stays_small():
    folder, _ = template("pipeline")
    lines = [line for path in folder.rglob("*.py") for line in path.read_text().splitlines()]
    assert len([line for line in lines if line.strip()]) < 250


def test_each_kind_has_a_template():
    for kind in KINDS:
        folder, old = template(kind)
        assert old in (folder / "pyproject.toml").read_text()
