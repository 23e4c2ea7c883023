"""The judge of all replays judges."""

import pytest


@pytest.fixture
def judge(kit):
    return kit.Tally().judge


def test_an_equal_answer_passes(judge):
    judge(("x", 1), {})


def test_an_unexplained_difference_fails(judge):
    with pytest.raises(AssertionError, match="without explanation"):
        judge(("x", 1), {"status": 200})


def test_an_explained_difference_has_to_be_exact(judge):
    judge(("x", 1), {"status": 400}, ({"status": 400}, "free work"))
    with pytest.raises(AssertionError, match="otherwise than explained"):
        judge(("x", 1), {"status": 500}, ({"status": 400}, "free work"))


def test_an_explanation_that_is_not_needed_fails(judge):
    with pytest.raises(AssertionError, match="does not differ"):
        judge(("x", 1), {}, ({"status": 400}, "free work"))
    with pytest.raises(AssertionError, match="does not differ"):
        judge(("x", 1), {}, standing=[({"headers": []}, "ours")])


def test_differences_are_found_at_any_depth(kit):
    recorded = {"a": {"b": [1, {"c": 2}]}, "gone": 3}
    ours = {"a": {"b": [1, {"c": 4}]}, "new": 5}
    assert kit.differences(recorded, ours) == {"a.b[1].c": 4, "gone": None, "new": 5}
    assert kit.differences({"a": [1]}, {"a": [1, 2]}) == {"a": [1, 2]}
    assert kit.differences(recorded, recorded) == {}


def test_the_summary_tells_all(kit):
    tally = kit.Tally()
    for number in (1, 2, 3, 7):
        tally.judge(("x", number), {})
    tally.judge(("x", 4), {"status": 400}, ({"status": 400}, "free work"), remade="no secret")
    lines = list(tally.lines())
    assert lines[0].startswith("contract: 5 requests replayed, 4 answers equal")
    assert "  differs: free work: 1: x 4" in lines
    assert "  request re-made: no secret: 1: x 4" in lines
