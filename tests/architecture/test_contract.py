"""The contract with plugins is whole: documented, exported, tested."""

import inspect
import re

import attrs
import podium_hookspecs
import pytest
from podium_hookspecs import specs

KINDS = ("Register hook", "Decide hook", "Observe hook")
HOOKS = {name: hook for name, hook in vars(specs).items() if name.startswith("podium_")}
PUBLIC = [name for name in podium_hookspecs.__all__ if name not in {"hookimpl", "hookspec"}]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(podium_hookspecs, name))]


def test_there_are_seven_hooks():
    assert set(HOOKS) == {
        "podium_config_class",
        "podium_pipelines",
        "podium_workers",
        "podium_asgi",
        "podium_price",
        "podium_admit",
        "podium_on_event",
    }


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented(name):
    hook = HOOKS[name]
    doc = inspect.getdoc(hook) or ""
    assert any(f"{kind};" in doc for kind in KINDS), "its kind and the moment of its call"
    assert re.search(r"^Source: \S", doc, re.M)
    assert ".. versionadded::" in doc
    parameters = inspect.signature(hook).parameters
    if parameters:
        section = doc.split("Args:")[1].split("\n\n")[0]
        for parameter in parameters:
            assert re.search(rf"^ +{parameter}: \S", section, re.M), parameter
    if inspect.signature(hook).return_annotation not in ("None", None):
        assert "Returns:" in doc


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_tested(name, root):
    tests = [*root.glob("core/tests/**/*.py"), *root.glob("tests/**/*.py")]
    users = [p for p in tests if re.search(rf"\bdef {name}\b", p.read_text())]
    assert users, f"no test implements {name}"


def test_exports_are_sorted_and_complete():
    exported = list(podium_hookspecs.__all__)
    assert exported == sorted(exported, key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert len(set(exported)) == len(exported)
    missing = [name for name in exported if not hasattr(podium_hookspecs, name)]
    assert not missing
    unlisted = [
        name
        for name, value in vars(podium_hookspecs).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in exported
    ]
    assert not unlisted


@pytest.mark.parametrize("name", CLASSES)
def test_public_class_is_documented(name):
    cls = getattr(podium_hookspecs, name)
    assert (cls.__doc__ or "").strip()
    for member, value in vars(cls).items():
        if inspect.isfunction(value) and not member.startswith("_"):
            inherited = any(member in vars(base) for base in cls.__mro__[1:])
            assert value.__doc__ or inherited or _generated(value), f"{name}.{member}"


def _generated(function):
    return function.__module__ != "podium_hookspecs" and "attrs" in function.__code__.co_filename


@pytest.mark.parametrize("name", [n for n in CLASSES if attrs.has(getattr(podium_hookspecs, n))])
def test_values_are_frozen(name):
    cls = getattr(podium_hookspecs, name)
    assert cls.__setattr__ is not object.__setattr__, "a value that changes is no value"


def test_errors_have_codes_of_their_own():
    errors = [getattr(podium_hookspecs, n) for n in CLASSES]
    codes = [e.code for e in errors if issubclass(e, podium_hookspecs.PluginError)]
    assert len(codes) == len(set(codes)) == 9


def test_api_version_is_the_distribution_s(root):
    version = re.search(
        r'^version = "(\d+\.\d+)\.', (root / "hookspecs/pyproject.toml").read_text(), re.M
    )
    assert version is not None
    assert version[1] == podium_hookspecs.API_VERSION
