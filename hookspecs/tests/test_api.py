"""No undeclared change of the contract, and the measure of changes measures."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest
from podium_hookspecs import API_VERSION

FILE = Path(__file__).parents[1] / "api.py"


def load():
    spec = importlib.util.spec_from_file_location("podium_hookspecs_api", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


api = load()
FROZEN = json.loads(api.SNAPSHOT.read_text())


def test_each_change_of_the_contract_is_declared():
    changes = api.compare(FROZEN["api"], api.surface())
    released = FROZEN["released"]
    problem = api.undeclared(FROZEN["version"], API_VERSION, changes, released=released)
    assert not problem, problem


def test_the_snapshot_is_this_version_s():
    assert FROZEN["version"] == API_VERSION, "run make api"
    assert FROZEN["api"] == api.surface(), "run make api"


def altered(*path, value=None):
    """Return the surface with one thing changed, or removed."""
    new = copy.deepcopy(FROZEN["api"])
    *way, last = path
    place = new
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return new


REQUIRED = {"type": "int", "required": True, "keyword": False}
OPTIONAL = {"type": "int", "required": False, "keyword": False}
METHOD = {"arguments": {}, "returns": "None"}
JOB_ID = {"type": "bytes", "required": True, "keyword": False}

BREAKS = {
    "a name is gone": altered("Price"),
    "a hook is gone": altered("hook podium_price"),
    "a hook's argument is gone": altered("hook podium_price", "arguments", "config"),
    "a method is gone": altered("Worker", "members", "readiness"),
    "a field is gone": altered("Offer", "fields", "warm"),
    "a field is of another type": altered("Job", "fields", "id", value=JOB_ID),
    "a field is new and has no default": altered("Offer", "fields", "x", value=REQUIRED),
    "a method must be implemented": altered(
        "Worker", "members", "x", value={**METHOD, "abstract": True}
    ),
    "an argument is new and must be given": altered(
        "Worker", "members", "cancel", "arguments", "x", value={"type": "int", "required": True}
    ),
    "a base is gone": altered("BadInput", "bases", value=["Exception"]),
    "a code is another": altered("Busy", "members", "code", "value", value="full"),
    "an enum's member is gone": altered("WorkerState", "members", "OK"),
    "a coroutine is none any more": altered("Worker", "members", "start", value=METHOD),
}
ADDITIONS = {
    "a name": altered("Fresh", value={"value": 1}),
    "a hook": altered("hook podium_fresh", value={**METHOD, "hook": True}),
    "a hook's argument": altered(
        "hook podium_price", "arguments", "x", value={"type": "int", "required": True}
    ),
    "a field with a default": altered("Offer", "fields", "x", value=OPTIONAL),
    "a method with a body": altered("Worker", "members", "x", value=METHOD),
    "a method that no longer must be implemented": altered(
        "Worker",
        "members",
        "cancel",
        value={
            k: v for k, v in FROZEN["api"]["Worker"]["members"]["cancel"].items() if k != "abstract"
        },
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_break_needs_a_major_version(what):
    changes = api.compare(FROZEN["api"], BREAKS[what])
    assert any(change.breaks for change in changes)
    assert "needs 2.0" in api.undeclared("1.2", "1.2", changes)
    assert "needs 2.0" in api.undeclared("1.2", "1.3", changes)
    assert "needs 2.0" in api.undeclared("1.2", "1.2", changes, released=False)
    assert not api.undeclared("1.2", "2.0", changes)


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_needs_a_minor_version(what):
    changes = api.compare(FROZEN["api"], ADDITIONS[what])
    assert changes
    assert not any(change.breaks for change in changes)
    assert "needs 1.3" in api.undeclared("1.2", "1.2", changes)
    assert not api.undeclared("1.2", "1.2", changes, released=False), "until it is out it may grow"
    assert not api.undeclared("1.2", "1.3", changes)


def test_no_change_needs_nothing_and_no_version_goes_back():
    assert not api.compare(FROZEN["api"], FROZEN["api"])
    assert not api.undeclared("1.2", "1.2", [])
    assert "older" in api.undeclared("1.2", "1.1", [])
