"""Events as JSON: exact, and every one of them."""

import json
import typing
from fractions import Fraction

import attrs
import podium_hookspecs
import pytest
from podium_hookspecs import Event, JobFinished, TicketRedeemed
from podium_observers import Record
from podium_observers.webhook import event_names

SENDER = bytes([0xAB]) * 20


def test_amounts_are_exact_texts_and_bytes_are_hex():
    job = JobFinished(
        "j", "s", SENDER, "transcode", 0, None, "w", "ok",
        units=2**60, unit="pixel", fee_wei=Fraction(10, 3), attributes={"frames": "50"},
    )  # fmt: skip
    record = Record("boot-1", 1_700_000_000.125, job).as_json()
    assert record["id"] == "boot-1"
    assert record["time"] == "2023-11-14T22:13:20.125+00:00"
    assert record["type"] == "JobFinished"
    assert record["data"]["fee_wei"] == "10/3"
    assert record["data"]["sender"] == "0x" + "ab" * 20
    assert record["data"]["units"] == 2**60
    assert record["data"]["model"] is None
    assert record["data"]["attributes"] == {"frames": "50"}
    redeemed = Record("boot-2", 0, TicketRedeemed(SENDER, 10**30, None, b"\1" * 32)).as_json()
    assert redeemed["data"]["face_value"] == str(10**30)
    assert redeemed["data"]["paid"] is None


EXAMPLES = {
    "str": 'a "text"\n\ud800', "bytes": SENDER, "int": 7, "float": 0.5, "bool": True,
    "Fraction": Fraction(1, 3), "int | None": 9, "str | None": None, "float | None": 1.5,
    "Mapping[str, str]": {"k": "v"},
}  # fmt: skip


@pytest.mark.parametrize("name", event_names())
def test_every_event_is_one_line_of_json(name):
    kind = getattr(podium_hookspecs, name)
    values = {key.name: EXAMPLES[str(key.type)] for key in attrs.fields(kind)}
    line = Record("boot-1", 0, kind(**values)).line()
    assert b"\n" not in line
    told = json.loads(line)
    assert told["type"] == name
    assert set(told["data"]) == set(values)


def test_the_names_of_events_are_those_of_the_contract():
    assert "JobFinished" in event_names()
    assert "Event" not in event_names()
    kinds = [k for k in vars(podium_hookspecs.events).values() if isinstance(k, type)]
    defined = {kind.__name__ for kind in kinds if issubclass(kind, Event) and kind is not Event}
    assert set(event_names()) == defined
    assert typing.get_type_hints(Record)["event"] is Event
