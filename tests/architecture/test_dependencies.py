"""Each distribution declares what it imports, and imports what it declares."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

MEMBERS = (
    "hookspecs",
    "core",
    "plugins/builtin_ai_runner",
    "plugins/builtin_ai_runner/runner",
    "plugins/builtin_byoc",
    "plugins/builtin_observers",
    "plugins/builtin_pricing",
    "plugins/builtin_transcode",
    "plugins/byoc_example",
    "plugins/executor_sdk",
)
INDIRECT = {
    "httptools": "uvicorn's HTTP/1.1 protocol, named by a string",
    "python-multipart": "by starlette",
    "uvloop": "by uvicorn",
}
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def _declared(root, member):
    """Return (always installed, with extras too), names as registries write them."""
    project = tomllib.loads((root / member / "pyproject.toml").read_text())["project"]
    plain = {NAME.match(line)[0].lower() for line in project["dependencies"]}
    extras = {
        NAME.match(line)[0].lower()
        for lines in project.get("optional-dependencies", {}).values()
        for line in lines
    }
    return plain, plain | extras | {project["name"]}


def _imported(root, product, member):
    """Return the top-level modules that a member's source imports, the standard library's not."""
    found = set()
    for source in product:
        if not source.name.startswith(f"{member}/src/"):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    own = {path.name for path in (root / member / "src").iterdir()}
    return found - set(sys.stdlib_module_names) - own


def _distributions(modules):
    providers = packages_distributions()
    special = {"google": "protobuf"}
    return {
        special.get(module) or providers.get(module, [module])[0].lower().replace("_", "-")
        for module in modules
    }


@pytest.mark.parametrize("member", MEMBERS)
def test_every_import_is_declared(root, product, member):
    _, declared = _declared(root, member)
    assert _distributions(_imported(root, product, member)) <= declared


@pytest.mark.parametrize("member", MEMBERS)
def test_every_declared_dependency_is_used(root, product, member):
    plain, _ = _declared(root, member)
    assert plain - set(INDIRECT) <= _distributions(_imported(root, product, member))
