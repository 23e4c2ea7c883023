"""The rules without their runners: who runs where, when a runner is bad, how long to wait."""

import pytest
from podium_ai_runner.executors.backoff import Backoff
from podium_ai_runner.executors.devices import find_places, parse_gpus
from podium_ai_runner.executors.docker.images import image_for
from podium_ai_runner.executors.probe import Answer
from podium_ai_runner.executors.settings import ExecutorSettings, assign, merged, places_needed
from podium_ai_runner.executors.tally import Tally, Verdict
from podium_hookspecs import ConfigError, Device

TABLE = """\
0, GPU-aaaa, NVIDIA H200, 143771, 143000, 9.0
1, GPU-bbbb, NVIDIA T4, 15360, [N/A], 7.5
nonsense
"""


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_two_bad_looks_in_a_row_are_too_many():
    tally = Tally(2, 180.0, Clock())
    assert tally.see(None) is Verdict.SUSPECT
    assert tally.see(Answer.OK) is Verdict.GOOD
    assert tally.see(None) is Verdict.SUSPECT
    assert tally.see(None) is Verdict.BAD


def test_error_is_too_much_at_once():
    assert Tally(2, 180.0).see(Answer.ERROR) is Verdict.BAD


def test_idle_is_as_good_as_ok():
    assert Tally(2, 180.0).see(Answer.IDLE) is Verdict.GOOD


def test_loading_counts_after_three_minutes_at_each_further_look():
    clock = Clock()
    tally = Tally(2, 180.0, clock)
    for clock.now_s in (0.0, 100.0, 180.0):
        assert tally.see(Answer.LOADING) is Verdict.LOADING
    clock.now_s = 185.0
    assert tally.see(Answer.LOADING) is Verdict.LOADING
    clock.now_s = 190.0
    assert tally.see(Answer.LOADING) is Verdict.BAD


def test_loading_begins_anew_after_ok():
    clock = Clock()
    tally = Tally(1, 180.0, clock)
    tally.see(Answer.LOADING)
    clock.now_s = 1000.0
    assert tally.see(Answer.OK) is Verdict.GOOD
    assert tally.see(Answer.LOADING) is Verdict.LOADING


def test_waits_double_up_to_the_longest():
    clock = Clock()
    backoff = Backoff(2.0, 10.0, clock)
    waits = []
    for _ in range(5):
        backoff.failed("no")
        waits.append(backoff.left_s)
        clock.now_s += backoff.left_s
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert (backoff.left_s, backoff.failures) == (0.0, 5)
    backoff.failed("no")
    backoff.succeeded()
    assert (backoff.left_s, backoff.failures) == (0.0, 0)


def test_an_early_loss_costs_a_wait_only_the_second_time():
    clock = Clock()
    backoff = Backoff(2.0, 10.0, clock)
    backoff.lost("died")
    assert backoff.left_s == 0.0
    waits = []
    for _ in range(3):
        backoff.succeeded()
        backoff.lost("died")
        waits.append(backoff.left_s)
    assert waits == [4.0, 8.0, 10.0]
    backoff.lasted()
    backoff.succeeded()
    backoff.lost("died")
    assert backoff.left_s == 0.0


def test_the_driver_s_table_is_read():
    first, second = parse_gpus(TABLE)
    assert first == Device("0", "NVIDIA H200", 143771 << 20, 143000 << 20, compute="9.0")
    assert (second.memory_free_bytes, second.compute) == (0, "7.5")


def test_gpus_are_filled_one_after_the_other():
    places = find_places(("auto",), parse_gpus(TABLE), 2, 1)
    assert [place.name for place in places] == ["gpu-0-0", "gpu-1-0", "gpu-0-1", "gpu-1-1"]
    assert {place.device.slots for place in places} == {2}


def test_without_gpus_the_processor_has_as_many_places_as_said():
    assert [place.name for place in find_places(("auto",), (), 1, 2)] == ["cpu-0", "cpu-1"]
    assert len(find_places(("none",), parse_gpus(TABLE), 1, 1)) == 1


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="there is no GPU 7"):
        find_places(("0", "7"), parse_gpus(TABLE), 1, 1)


def test_warm_models_get_places_of_their_own(kit):
    entries = merged(
        [kit.entry(model="w", warm=True), kit.entry(model="w", warm=True), kit.entry(model="c")]
    )
    assert places_needed(entries) == 3
    parts = assign(entries, find_places(("none",), (), 1, 4))
    assert [(part.pinned, [e.key.model for e in part.entries]) for part in parts] == [
        (True, ["w"]),
        (True, ["w"]),
        (False, ["c"]),
        (False, ["c"]),
    ]


def test_too_few_places_are_said(kit):
    places = find_places(("none",), (), 1, 1)
    with pytest.raises(ConfigError, match="1 places for runners, but warm models take 2"):
        assign([kit.entry(warm=True, capacity=2)], places)
    with pytest.raises(ConfigError, match="the others need one"):
        assign([kit.entry(model="w", warm=True), kit.entry(model="c")], places)


def test_a_model_cannot_be_warm_and_not(kit):
    with pytest.raises(ConfigError, match="there twice"):
        merged([kit.entry(warm=True), kit.entry(warm=False)])


def test_images_are_resolved_in_the_network_s_order(kit):
    settings = ExecutorSettings(image="mine", image_by_pipeline={"text-to-image": "art"})
    assert image_for(kit.entry("llm"), settings) == "livepeer/ai-runner:llm"
    assert image_for(kit.entry("image-to-text"), settings) == "mine"
    assert image_for(kit.entry("image-to-text"), ExecutorSettings()) == "livepeer/ai-runner:latest"
    assert image_for(kit.entry("text-to-image"), settings) == "art"
    assert image_for(kit.entry("text-to-image", image="own"), settings) == "own"
