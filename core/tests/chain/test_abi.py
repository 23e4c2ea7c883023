import pytest
from eth_abi.abi import encode
from podium.chain.abi import Event, Function
from podium.chain.contracts import BondingManager, RoundsManager, TicketBroker
from podium.chain.values import Log
from podium.errors import ChainError

OWNER, OTHER = b"\x11" * 20, b"\x22" * 20


def log(event, topics, data=b""):
    return Log(bytes(20), (event.topic, *topics), data, 1, bytes(32), bytes(32))


def test_selectors_and_topics_are_the_deployed_ones():
    assert TicketBroker.redeem.selector.hex() == "ec8b3cb6"
    assert TicketBroker.batch_redeem.selector.hex() == "d01b808e"
    assert BondingManager.reward_with_hint.selector.hex() == "81871056"
    assert RoundsManager.new_round.topic.hex().startswith("22f2fc17c5daf07db2379b3a")


def test_addresses_are_bytes_wherever_they_stand():
    function = Function("f((address,uint256)[],string)", "(address,uint256)[],string")
    looks_like_one = "0x" + "a" * 40
    data = function.encode([(OWNER, 5), (OTHER, 6)], looks_like_one)
    assert function.decode_input(data) == (((OWNER, 5), (OTHER, 6)), looks_like_one)


def test_one_value_comes_alone_and_several_as_a_tuple():
    assert BondingManager.pool_size.decode(encode(["uint256"], [7])) == 7
    info = encode(["(uint256,uint256)", "(uint256,uint256)"], [(1, 2), (3, 4)])
    assert TicketBroker.get_sender_info.decode(info) == ((1, 2), (3, 4))


@pytest.mark.parametrize("data", [b"", b"\1", bytes(31)])
def test_an_answer_of_other_types_is_an_error(data):
    with pytest.raises(ChainError):
        BondingManager.pool_size.decode(data)


def test_call_data_of_another_function_is_an_error():
    with pytest.raises(ChainError):
        TicketBroker.redeem.decode_input(TicketBroker.unlock.encode())


def test_events_give_their_arguments_by_name():
    topics = (OWNER.rjust(32, b"\0"), OTHER.rjust(32, b"\0"))
    found = TicketBroker.ticket_transfer.decode(
        log(TicketBroker.ticket_transfer, topics, encode(["uint256"], [9]))
    )
    assert found == {"sender": OWNER, "recipient": OTHER, "amount": 9}


def test_a_log_of_another_event_is_an_error():
    other = Event("Other(uint256)", "value")
    with pytest.raises(ChainError):
        RoundsManager.new_round.decode(log(other, ()))
    with pytest.raises(ChainError):
        RoundsManager.new_round.decode(log(RoundsManager.new_round, ()))
