"""What is known of a plugin before any of its code runs."""

import sys

import pytest
from podium.pluginhost.discover import discover


def test_a_plugin_is_found_by_its_metadata_alone(install):
    module = install("mine", "raise RuntimeError('imported')")
    found = discover()["mine"]
    assert (found.dist, found.dist_version, found.target) == ("podium-mine", "1.2.3", module)
    assert found.pin == "<2,>=1.0"
    assert found.problem == ""
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("requires", "problem"),
    [
        (["podium-hookspecs>=2"], "it needs podium-hookspecs>=2, this node has 1.4.0"),
        (["Podium_Hookspecs<1.4"], "it needs podium-hookspecs<1.4, this node has 1.4.0"),
        (["attrs"], "its metadata does not require podium-hookspecs"),
        (['podium-hookspecs>=1; extra == "dev"'], "its metadata does not require"),
        ([], "its metadata does not require podium-hookspecs"),
        (["podium-hookspecs>=>1"], "an unreadable requirement: podium-hookspecs>=>1"),
    ],
)
def test_a_pin_that_does_not_fit_is_a_problem(install, requires, problem):
    install("mine", "", requires=requires)
    assert problem in discover(contract="1.4.0")["mine"].problem


@pytest.mark.parametrize("pin", [">=1.0,<2", ">=1.4", "~=1.2", ""])
def test_a_pin_that_fits_is_none(install, pin):
    install("mine", "", requires=["attrs", f"podium-hookspecs{pin}"])
    assert discover(contract="1.4.0")["mine"].problem == ""


def test_a_name_that_two_distributions_offer_is_a_problem(install):
    install("mine", "", dist="podium-one")
    install("mine", "", dist="podium-two")
    assert "podium-one and podium-two" in discover()["mine"].problem
