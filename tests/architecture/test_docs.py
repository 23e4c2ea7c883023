"""What the pages show is what works."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from podium.cli import cli
from podium.config.load import parse_settings
from podium.pluginhost.discover import discover
from podium.pluginhost.load import check_sections

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def _fences(root, language):
    pages = [root / "README.md", *root.glob("*/README.md"), *root.glob("docs/**/*.md")]
    return [
        pytest.param(body, id=f"{page.relative_to(root)}:{page.read_text().count(chr(10), 0, at)}")
        for page in sorted(pages)
        if "_build" not in page.parts
        for kind, body, at in ((m[1], m[2], m.start()) for m in FENCE.finditer(page.read_text()))
        if kind == language
    ]


def pytest_generate_tests(metafunc):
    root = Path(__file__).parents[2]
    if "example" in metafunc.fixturenames:
        metafunc.parametrize("example", _fences(root, "toml"))
    if "session" in metafunc.fixturenames:
        metafunc.parametrize("session", _fences(root, "console"))


def test_shown_configurations_are_valid(example, tmp_path):
    if "project" in tomllib.loads(example):
        return  # a plugin's own pyproject.toml
    key = tmp_path / "key"
    key.write_text("11" * 32)
    text = re.sub(r'(tls_\w+|file) = "[^"]*"', rf'\1 = "{key}"', example)
    environ = {"PODIUM_PRIVATE_KEY": "11" * 32, "PODIUM_WEBHOOK_SECRET": "0123456789abcdef"}
    document = {"version": 1, **tomllib.loads(text)}
    settings = parse_settings(document, path=tmp_path / "podium.toml", environ=environ)
    found = discover()
    ours = {name: section for name, section in settings.plugins.items() if name in found}
    sections = check_sections(ours, found, base_dir=tmp_path, environ=environ)
    assert not sections.failures


def test_shown_commands_exist(session, root):
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.M))
    for line in re.findall(r"^\$ (.*)$", session, re.M):
        for command in re.split(r" (?:&&|\|) ", line.split("  #")[0].replace(" 2>&1", "")):
            words = shlex.split(command.replace(".venv/bin/podium", "podium"))
            if words[0] == "make":
                assert words[1] in targets, line
            elif words[0] == "podium":
                _check(cli, words[1:], line)


def _check(command, words, line):
    context = click.Context(command, resilient_parsing=True)
    runs_itself = isinstance(command, click.Group) and command.invoke_without_command
    if isinstance(command, click.Group) and not (runs_itself and words[0].startswith("-")):
        child = command.get_command(context, words[0])
        assert child is not None, line
        _check(child, words[1:], line)
        return
    options = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("-") and word not in options]
    assert not unknown, line
