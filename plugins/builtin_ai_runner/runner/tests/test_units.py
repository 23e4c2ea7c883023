"""Parts that need no process: names, sampling, text as it comes, weights."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium_runner_cpu.engines.generate import Sampling, Stopper, choose
from podium_runner_cpu.engines.ocr import Fragment, join_lines
from podium_runner_cpu.engines.tokens import ChatTokenizer, TextStream
from podium_runner_cpu.engines.voice import Voice, voice_of
from podium_runner_cpu.engines.weights import read_weights
from podium_runner_cpu.errors import InvalidFields, LoraLoadingError, ModelUnavailable
from podium_runner_cpu.fields import Field, parse
from podium_runner_cpu.snapshots import find_snapshot


def test_a_snapshot_is_found_in_both_layouts(tmp_path):
    cached = tmp_path / "models--org--name" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    assert find_snapshot(tmp_path, "org/name") == cached
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("def\n")
    with pytest.raises(ModelUnavailable):
        find_snapshot(tmp_path, "org/name")
    plain = tmp_path / "org" / "plain"
    plain.mkdir(parents=True)
    assert find_snapshot(tmp_path, "org/plain") == plain


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "a/../b", "/etc", "a//b", "a/b/c", "a\0b", ".hidden", "a/.git", "a\n"],
)
def test_a_name_never_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    with pytest.raises(ModelUnavailable):
        find_snapshot(tmp_path / "a", name)


def test_a_link_never_leads_out_of_the_folder(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "evil").symlink_to("/etc")
    with pytest.raises(ModelUnavailable):
        find_snapshot(tmp_path / "models", "evil")


def test_sampling_keeps_what_it_may():
    dice = np.random.default_rng(1)
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))

    def seen(**more):
        return {choose(logits, Sampling(**more), dice) for _ in range(300)}

    assert seen(temperature=0) == {0}
    assert seen(temperature=1) == {0, 1, 2, 3}
    assert seen(temperature=1, top_k=2) == {0, 1}
    assert seen(temperature=1, top_p=0.6) == {0, 1}
    assert seen(temperature=1, top_p=0.5) == {0}
    assert seen(temperature=0.01) == {0}


def test_sampling_follows_the_chances():
    dice = np.random.default_rng(1)
    logits = np.log(np.array([0.7, 0.3], np.float32))
    counts = np.bincount([choose(logits, Sampling(temperature=1), dice) for _ in range(4000)])
    assert abs(counts[0] / 4000 - 0.7) < 0.03


@given(
    text=st.text("abc", max_size=40),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(1, 5), min_size=40, max_size=40),
)
def test_a_stop_text_is_found_however_the_text_is_cut(text, stops, cuts):
    stopper, shown, at = Stopper(tuple(stops)), "", 0
    for size in cuts:
        shown += stopper.push(text[at : at + size])
        at += size
        if stopper.stopped:
            break
    else:
        shown += stopper.rest()
    found = [text.find(stop) for stop in stops if stop in text]
    if not stopper.stopped:
        assert (shown, found) == (text, [])
        return
    # A longer stop text may begin earlier and end later than one that is already complete.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert text.startswith(shown)
    assert shown == text[: len(shown)]
    assert len(shown) in found or min(found) <= len(shown) <= min(ends)


def test_characters_are_shown_whole(llm_dir):
    tokenizer = ChatTokenizer.from_folder(llm_dir / "tiny" / "reciter")
    text = "grüße 日本 🦊 end"
    stream = TextStream(tokenizer, [])
    pieces = [stream.push(token) for token in tokenizer._tokenizer.encode(text).ids]
    assert "".join(pieces) == text
    assert "" in pieces, "an emoji is several tokens"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"\xff" * 8,
        (9).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"nope",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_damaged_weights_are_told(tmp_path, raw):
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(ModelUnavailable):
        read_weights(tmp_path)


@pytest.mark.parametrize("entry", [{}, {"dtype": "I64"}, {"data_offsets": [0, 10**9]}])
def test_damaged_tables_are_told(tmp_path, entry):
    good = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    table = json.dumps({"a": good | entry if entry else {}}).encode()
    data = len(table).to_bytes(8, "little") + table + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelUnavailable):
        read_weights(tmp_path)


def test_half_precision_weights_are_read(tmp_path):
    table = {
        "half": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "brain": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [4, 8]},
        "__metadata__": {"format": "pt"},
    }
    head = json.dumps(table).encode()
    data = np.array([1.5, -2], np.float16).tobytes() + bytes([0xC0, 0x3F, 0x00, 0xC0])
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    weights = read_weights(tmp_path)
    assert weights["half"].tolist() == [1.5, -2]
    assert weights["brain"].tolist() == [[1.5, -2]]


def test_voices_are_chosen_by_words():
    default = Voice()
    assert voice_of("") == default
    assert voice_of("A male speaker with a moderate speed") == default
    female = voice_of("A female speaker talks fast, with a low pitch.")
    assert female == Voice("f2", words_per_minute=230, pitch=25)


def test_fragments_become_lines():
    fragments = [
        Fragment(200, 20, 30, "there"),
        Fragment(10, 22, 28, "hello"),
        Fragment(10, 60, 30, "below"),
    ]
    assert join_lines(fragments) == ["hello there", "below"]
    assert join_lines([]) == []


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text("-1.9e+naifxtrue", max_size=8),
    st.just([]),
)


@given(st.dictionaries(st.sampled_from("abcd"), VALUES))
def test_fields_are_what_they_say_or_refused(given):
    fields = (Field("a", "int", default=1), Field("b", "float"), Field("c", "bool"), Field("d"))
    refused, values = [], {}
    try:
        values = parse(fields, given)
    except InvalidFields as error:
        refused = error.details
    assert {detail["loc"][1] for detail in refused} <= set(given)
    assert all(set(detail) == {"loc", "msg", "type"} for detail in refused)
    if refused:
        return
    assert set(values) == set("abcd")
    assert type(values["a"]) is int
    assert type(values["b"]) is (float if "b" in given else type(None))
    assert type(values["c"]) is (bool if "c" in given else type(None))


@pytest.mark.parametrize(
    "text",
    ["x", "[]", '{"a":"b"}', '{"a":NaN}', '{"a":1,"b":1,"c":1,"d":1,"e":1}', "[" * 100_000, '"a"'],
)
def test_malformed_loras_are_refused(text):
    from podium_runner_cpu.engines.diffusers import parse_loras

    with pytest.raises(LoraLoadingError):
        parse_loras(text)


def test_loras_are_names_and_weights():
    from podium_runner_cpu.engines.diffusers import parse_loras

    assert parse_loras("") == {}
    assert parse_loras('{"org/name": 1, "other/name": "0.5"}') == {
        "org/name": 1.0,
        "other/name": 0.5,
    }
