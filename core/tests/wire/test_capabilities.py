import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import WireError
from podium.model import Capabilities, ModelConstraint
from podium.wire import capabilities as caps
from podium.wire.pb import lp_rpc_pb2 as pb

BITS = st.frozensets(st.integers(0, 255))


# go-livepeer core/capabilities_test.go.
@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (range(6), [63]),
        ({193, 192}, [0, 0, 0, 3]),
        ({193, 54, 192, 79}, [2**54, 2**15, 0, 3]),
        ({*range(13), 14, 26}, [67133439]),
        ({*range(13), 14, 17, 21, 22, 23, 24, 25, 26}, [132276223]),
        ((), []),
    ],
)
def test_bitstring_vectors(bits, words):
    assert caps.bits_to_words(bits) == words
    assert caps.words_to_bits(words) == frozenset(bits)


@given(BITS)
def test_bitstring_round_trip(bits):
    assert caps.words_to_bits(caps.bits_to_words(bits)) == bits


@pytest.mark.parametrize(
    ("version", "minimum", "met"),
    [
        ("0.4.1-b3278dce-dirty", "0.4.1", True),
        ("0.4.1", "0.4.2", False),
        ("undefined", "0.4.1", False),
        ("", "0.4.1", False),
        ("0.9.1", "", True),
        ("0.9.1", "not a version", True),
        ("0.10.0", "0.9.9", True),
        ("1.0.0", "0.99.99", True),
    ],
)
def test_version_rule(version, minimum, met):
    assert caps.version_at_least(version, minimum) is met


def node(*bits, models=None, version="0.9.1", mandatories=()):
    return Capabilities(
        bits=frozenset(bits),
        words=len(caps.bits_to_words(bits)),
        version=version,
        models=models or {},
        mandatories=frozenset(mandatories),
    )


def wanting(*bits, words=None, models=None, min_version=""):
    return Capabilities(
        bits=frozenset(bits),
        words=len(caps.bits_to_words(bits)) if words is None else words,
        models=models or {},
        min_version=min_version,
    )


def test_compatibility_rule():
    assert caps.serves(node(0, 1, 12), wanting(0, 12))
    assert caps.serves(node(0, 1, 12), wanting())
    assert not caps.serves(node(0, 1, 12), wanting(0, 35))
    assert not caps.serves(node(0, 1, 12), wanting(0, words=2)), "longer array, even of zeros"
    assert not caps.serves(node(0, 12, mandatories=[12]), wanting(0))
    assert not caps.serves(node(0), wanting(0, min_version="0.9.2"))


def test_model_constraints():
    have = {31: {"whisper": ModelConstraint(warm=False, runner_version="1.2.0")}}
    assert caps.serves(
        node(31, models=have), wanting(31, models={31: {"whisper": ModelConstraint()}})
    )
    assert not caps.serves(
        node(31, models=have), wanting(31, models={31: {"other": ModelConstraint()}})
    )
    warm = {31: {"whisper": ModelConstraint(warm=True)}}
    assert not caps.serves(node(31, models=have), wanting(31, models=warm))
    newer = {31: {"whisper": ModelConstraint(runner_version="1.3.0")}}
    assert not caps.serves(node(31, models=have), wanting(31, models=newer))
    assert caps.serves(node(31), wanting(31, models=warm)), "what we do not constrain is accepted"


@given(BITS, BITS)
def test_wire_round_trip(bits, mandatories):
    ours = Capabilities(
        bits=bits,
        words=len(caps.bits_to_words(bits)),
        mandatories=mandatories,
        capacities=dict.fromkeys(bits, 1),
        version="0.9.1",
        min_version="0.9.0",
        models={27: {"m": ModelConstraint(warm=True, capacity=2, runner_version="1.0.0")}},
    )
    message = pb.Capabilities.FromString(caps.to_pb(ours).SerializeToString())
    assert caps.from_pb(message) == ours


def test_a_hostile_bitstring_is_cut():
    message = pb.Capabilities(bitstring=[2**64 - 1] * 5000)
    assert caps.from_pb(message).words == caps.MAX_WORDS + 1


def test_a_hostile_list_of_models_is_refused():
    message = pb.Capabilities()
    for number in range(caps.MAX_CONSTRAINTS + 1):
        message.constraints.PerCapability[27].models[str(number)].warm = True
    with pytest.raises(WireError, match=r"^too many constraints$"):
        caps.from_pb(message)
    with pytest.raises(WireError):
        caps.from_pb(pb.Capabilities(capacities=dict.fromkeys(range(1001), 1)))
