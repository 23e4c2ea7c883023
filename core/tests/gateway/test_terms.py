"""Pure rules of a sender: compatibility, ladders, ticket counts, caps, address lists."""

import json
from fractions import Fraction

import pytest
from podium.testing.gateway import profiles
from podium.testing.gateway.capabilities import compatible, job_bits, pack, version_at_least
from podium.testing.gateway.discovery import Candidate, by_trust, parse_addresses, parse_webhook
from podium.testing.gateway.errors import InputError, TermsRefused
from podium.testing.gateway.tickets import (
    AgeClock,
    BlockClock,
    Caps,
    Funds,
    TicketTerms,
    tickets_needed,
)
from podium.wire.pb import lp_rpc_pb2 as net


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ({0, 1, 2, 3, 4, 5}, [63]),
        ({193, 192}, [0, 0, 0, 3]),
        ({193, 54, 192, 79}, [2**54, 2**15, 0, 3]),
        (set(), []),
    ],
)
def test_packing(bits, words):
    assert pack(bits) == words


@pytest.mark.parametrize(
    ("version", "minimum", "fits"),
    [
        ("0.4.1-b3278dce-dirty", "0.4.1", True),
        ("0.4.1", "0.4.2", False),
        ("undefined", "0.4.1", False),
        ("", "0.4.1", False),
        ("undefined", "", True),
        ("0.4.1", "junk", True),
        ("junk", "0.4.1", False),
        ("0.10.0", "0.9.1", True),
    ],
)
def test_versions(version, minimum, fits):
    assert version_at_least(version, minimum) is fits


def caps_message(bitstring, mandatories=(), models=None):
    made = net.Capabilities(bitstring=bitstring, mandatories=mandatories, version="0.9.1")
    for name, (warm, runner) in (models or {}).items():
        model = made.constraints.PerCapability[27].models[name]
        model.warm, model.runnerVersion = warm, runner
    return made


def test_compatibility_is_a_subset_in_both_length_and_bits():
    job = caps_message([67112963])
    assert compatible(job, caps_message([94487339007]))
    assert not compatible(job, caps_message([4095]))
    assert not compatible(caps_message([67112963, 0]), caps_message([94487339007]))
    assert compatible(job, caps_message([94487339007, 5]))
    assert not compatible(job, caps_message([94487339007], mandatories=[1 << 40]))
    assert compatible(job, caps_message([94487339007], mandatories=[1 << 12]))


def test_models_must_be_there_warm_and_recent():
    want = caps_message([1 << 27], models={"m": (True, "1.2.0")})
    assert compatible(want, caps_message([1 << 27], models={"m": (True, "1.2.3")}))
    assert not compatible(want, caps_message([1 << 27], models={"m": (False, "1.2.3")}))
    assert not compatible(want, caps_message([1 << 27], models={"m": (True, "1.1.0")}))
    assert not compatible(want, caps_message([1 << 27], models={"other": (True, "1.2.0")}))
    assert compatible(want, caps_message([1 << 27]))


def test_job_bits_of_inputs():
    ladder = [profiles.preset("P240p30fps16x9")]
    assert job_bits(ladder, push=False) == {0, 1, 12}
    assert job_bits(ladder, codec="hevc") >= {15, 0, 26}
    assert job_bits(ladder, codec="h264", pixel_format="yuv422p10le") >= {24}
    assert job_bits(ladder, signature=True) >= {14}
    assert job_bits(ladder, storage=net.OSInfo(storageType=net.OSInfo.S3)) >= {5}
    with pytest.raises(InputError, match="cannot decode 'av1'"):
        job_bits(ladder, codec="av1")
    with pytest.raises(InputError, match="yuv420p12le"):
        job_bits(ladder, codec="h264", pixel_format="yuv420p12le")


def test_ladder_of_presets():
    ladder = profiles.parse_ladder("P240p30fps16x9, P144p30fps16x9")
    assert [(p.width, p.height, p.bitrate, p.fps) for p in ladder] == [
        (426, 240, 600_000, 30),
        (256, 144, 400_000, 30),
    ]
    with pytest.raises(InputError, match="'P999' is neither a preset nor a JSON file"):
        profiles.parse_ladder("P240p30fps16x9,P999")
    with pytest.raises(InputError, match="two profiles are named"):
        profiles.parse_ladder("P240p30fps16x9,P240p30fps16x9")


def test_ladder_of_a_file(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(
        json.dumps(
            [
                {
                    "name": "240p0",
                    "width": 426,
                    "height": 240,
                    "bitrate": 250000,
                    "fps": 0,
                    "profile": "h264constrainedhigh",
                    "gop": "1",
                },
                {"width": 256, "height": 144, "bitrate": 1, "gop": "intra", "encoder": "HEVC"},
                {
                    "width": 256,
                    "height": 145,
                    "bitrate": 1,
                    "fps": 30000,
                    "fpsDen": 1001,
                    "gop": "2.5",
                },
            ]
        )
    )
    a, b, c = profiles.parse_ladder(str(path))
    assert (a.name, a.fps, a.gop, a.profile) == (
        "240p0",
        0,
        1000,
        net.VideoProfile.H264_CONSTRAINED_HIGH,
    )
    assert (b.name, b.gop, b.encoder) == ("custom_256x144_1", -1, net.VideoProfile.H265)
    assert (c.fps, c.fpsDen, c.gop) == (30000, 1001, 2500)


@pytest.mark.parametrize(
    ("rung", "problem"),
    [
        ({"width": "1"}, "width: must be a whole number"),
        ({"gop": "-1"}, "gop: must not be negative"),
        ({"gop": "soon"}, "gop: must be seconds"),
        ({"encoder": "h264"}, "unknown profile or encoder 'h264'"),
        ({"chromaFormat": 9}, "has no name defined for value 9"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"width": 2**40}, "out of range"),
        (3, "must be a JSON object"),
    ],
)
def test_bad_rungs(tmp_path, rung, problem):
    path = tmp_path / "options.json"
    path.write_text(json.dumps([rung]))
    with pytest.raises(InputError, match=problem):
        profiles.parse_ladder(str(path))


def test_unreadable_ladder(tmp_path):
    path = tmp_path / "options.json"
    for text in ("", "{}", "[]"):
        path.write_text(text)
        with pytest.raises(InputError):
            profiles.parse_ladder(str(path))


@pytest.mark.parametrize(
    ("existing", "fee", "count"),
    [(1, 5, 4), (Fraction(1, 4), 2, 2), (-5, 2, 7), (2, 2, 0), (0, 0, 1)],
)
def test_tickets_needed(existing, fee, count):
    assert tickets_needed(Fraction(fee), Fraction(1), Fraction(existing)) == count


def offer(face_value=1000, win_prob=2**255, expiration_block=100):
    return TicketTerms(
        b"r" * 20,
        face_value,
        win_prob,
        b"h" * 32,
        expiration_block,
        1,
        b"b" * 32,
        net.TicketParams(),
    )


RICH = Funds(deposit=10**20, reserve=10**20)


@pytest.mark.parametrize(
    ("terms", "caps", "expired", "text"),
    [
        (offer(expiration_block=0), Caps(), False, "ticketParams expiration block is 0"),
        (offer(), Caps(), True, "TicketParams expired"),
        (offer(win_prob=2**256 - 1), Caps(), False, "ticket faceValue too low faceValue=1000"),
        (
            offer(),
            Caps(max_ticket_ev=Fraction(1)),
            False,
            "ticket EV 500.00000 > max ticket EV 1.00000",
        ),
        (offer(), Caps(funds=Funds(1, 1, unlock_near=True)), False, "set to unlock soon"),
        (offer(), Caps(funds=Funds(1, 0)), False, "no sender reserve"),
        (offer(), Caps(funds=Funds(0, 1)), False, "no sender deposit"),
        (
            offer(),
            Caps(max_total_ev=Fraction(999)),
            False,
            "total ticket EV 1000.00000 for 2 tickets > max total ticket EV 999.0",
        ),
        (offer(), Caps(funds=Funds(999, 1)), False, "ticket faceValue 1000 > max faceValue 999"),
        (
            offer(),
            Caps(funds=Funds(1999, 1), deposit_multiplier=2),
            False,
            "ticket faceValue 1000 > max faceValue 999",
        ),
    ],
)
def test_terms_refused(terms, caps, expired, text):
    with pytest.raises(TermsRefused, match=text):
        caps.check(terms, 2, expired=expired)


def test_terms_accepted():
    Caps(funds=RICH).check(offer(), 2, expired=False)
    Caps(max_ticket_ev=Fraction(0)).check(offer(win_prob=0), 2, expired=False)


def test_clocks():
    assert not AgeClock(10).expired(0, 9)
    assert AgeClock(10).expired(0, 10)
    assert BlockClock(lambda: 99).expired(100, 0)
    assert not BlockClock(lambda: 98).expired(100, 0)


def test_addresses():
    uris = [c.uri for c in parse_addresses("https://a:1, b, :9,http://[::1],10.0.0.1:7")]
    assert uris == [
        "https://a:1",
        "https://b:8935",
        "https://127.0.0.1:9",
        "http://[::1]:8935",
        "https://10.0.0.1:7",
    ]
    for bad in ("ftp://a", "a:99999", "a:b"):
        with pytest.raises(InputError):
            parse_addresses(bad)


def test_webhook_entries():
    entries = [
        {"address": "https://a:1", "score": 1, "extra": True},
        {"address": "https://b:2"},
        {"address": "https://c:3", "score": 0.5},
        {"address": "d:4", "score": 1},
        {"address": ""},
        7,
    ]
    untrusted, trusted = by_trust(parse_webhook(entries))
    assert untrusted == [Candidate("https://b:2", 0)]
    assert trusted == [Candidate("https://a:1", 1)]
    with pytest.raises(ValueError, match="not a JSON array"):
        parse_webhook({})
