"""The calls of the contract are ones that pluggy and the host can make."""

import inspect
import subprocess
import sys
from fractions import Fraction

import pluggy
import pytest
from podium_hookspecs import NodeStopping, Price, PriceRequest, hookimpl, specs

HOOKS = {name: hook for name, hook in vars(specs).items() if name.startswith("podium_")}


@pytest.fixture
def manager():
    made = pluggy.PluginManager("podium")
    made.add_hookspecs(specs)
    return made


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_sync_and_take_no_defaults(name):
    hook = HOOKS[name]
    assert not inspect.iscoroutinefunction(hook)
    for parameter in inspect.signature(hook).parameters.values():
        assert parameter.default is inspect.Parameter.empty, "pluggy never passes such an argument"
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("name", HOOKS)
def test_kind_says_how_it_is_called(name):
    """Only decide hooks stop at the first answer."""
    paragraph = inspect.getdoc(HOOKS[name]).split("\n\n")[1]
    assert HOOKS[name].podium_spec["firstresult"] is paragraph.startswith("Decide hook")


def test_an_implementation_may_take_fewer_arguments(manager):
    """So a new argument of a hook is a minor change."""

    class Plugin:
        @hookimpl
        def podium_pipelines(self):
            return []

    manager.register(Plugin())
    manager.check_pending()
    assert manager.hook.podium_pipelines(config=None, context=None) == [[]]


def test_an_unknown_hook_is_found_out(manager):
    class Plugin:
        @hookimpl
        def podium_prise(self, request):
            return None

    manager.register(Plugin())
    with pytest.raises(pluggy.PluginValidationError, match="unknown hook 'podium_prise'"):
        manager.check_pending()


def test_the_first_answer_decides(manager):
    class Passes:
        @hookimpl
        def podium_price(self, request):
            return None

    class Answers:
        @hookimpl
        def podium_price(self, request):
            return Price(Fraction(7, 3), request.unit)

    manager.register(Answers())
    manager.register(Passes())  # pluggy asks the last one first
    request = PriceRequest(bytes(20), 0)
    arguments = {name: None for name in inspect.signature(HOOKS["podium_price"]).parameters}
    price = manager.hook.podium_price(**{**arguments, "request": request})
    assert price == Price(Fraction(7, 3), "pixel")


def test_events_are_values():
    assert NodeStopping("signal") == NodeStopping("signal")
    with pytest.raises(AttributeError):
        NodeStopping("signal").reason = "other"


def test_the_contract_needs_only_attrs_and_pluggy():
    """In a fresh interpreter: a GPU box must not need the node's libraries."""
    code = (
        "import sys; before = set(sys.modules); import podium_hookspecs\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"attr", "attrs", "pluggy", "podium_hookspecs"}
