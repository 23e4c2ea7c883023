import pytest
from podium.chain.answers import EndpointFault, EndpointLags, Refusal, decode_revert
from podium.chain.endpoint import Endpoint, _retry_after_s
from podium.errors import Reverted, RpcError

ERROR_STRING = (
    "0x08c379a00000000000000000000000000000000000000000000000000000000000000020"
    "0000000000000000000000000000000000000000000000000000000000000011"
    "7469636b657420697320657870697265640000000000000000000000000000ff"
)
PANIC = "0x4e487b71" + "00" * 31 + "11"


@pytest.mark.parametrize(
    ("number", "message", "data", "reason"),
    [
        (3, "execution reverted: ticket is expired", ERROR_STRING, "ticket is expired"),
        (3, "execution reverted", ERROR_STRING, "ticket is expired"),
        (-32000, "execution reverted: ticket is expired", None, "ticket is expired"),
        (-32000, "execution reverted", None, ""),
        (3, "execution reverted", "0x", ""),
        (
            3,
            "execution reverted: panic: arithmetic underflow or overflow (0x11)",
            PANIC,
            "Panic 0x11",
        ),
        (
            3,
            "execution reverted: panic: arithmetic underflow or overflow (0x11)",
            None,
            "Panic 0x11",
        ),
        (3, "execution reverted", "0xdeadbeef", "custom error 0xdeadbeef"),
        (-32015, "VM execution error.", "Reverted " + ERROR_STRING, "ticket is expired"),
        (3, "execution reverted", {"data": ERROR_STRING}, "ticket is expired"),
        (
            -32603,
            "Error: VM Exception while processing transaction: reverted with reason string 'no'",
            None,
            "no",
        ),
        (-32603, "EVM error InvalidFEOpcode", None, "invalid opcode"),
        (-32000, "invalid opcode: INVALID", None, "invalid opcode"),
        (3, "execution reverted: unknown block", None, "unknown block"),
    ],
)
def test_reverts_carry_their_reason(number, message, data, reason):
    error = Refusal(number, message, data).to_error()
    assert isinstance(error, Reverted)
    assert error.reason == reason


@pytest.mark.parametrize(
    ("number", "message", "kind"),
    [
        (-32000, "nonce too low: next nonce 5, tx nonce 3", "nonce_too_low"),
        (-32003, "nonce too low", "nonce_too_low"),
        (-32000, "nonce too high: address 0x1, tx: 9 state: 5", "nonce_too_high"),
        (-32000, "already known", "already_known"),
        (-32003, "transaction already imported", "already_known"),
        (-32000, "replacement transaction underpriced", "underpriced"),
        (-32000, "transaction underpriced: tip needed 1, tip permitted 0", "underpriced"),
        (
            -32000,
            "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1 baseFee: 2",
            "underpriced",
        ),
        (-32003, "max fee per gas less than block base fee", "underpriced"),
        (-32000, "insufficient funds for gas * price + value: balance 0", "funds"),
        (-32003, "Insufficient funds for gas * price + value", "funds"),
        (-32000, "gas required exceeds allowance (0)", "funds"),
        (-32005, "query returned more than 10000 results", "range"),
        (-32000, "logs matched by query exceeds limit of 10000", "range"),
        (-32602, "eth_getLogs is limited to a 10,000 range", "range"),
        (
            -32600,
            "Log response size exceeded. You can make eth_getLogs requests with up to",
            "range",
        ),
        (-32000, "exceed maximum block range: 5000", "range"),
        (-32602, "invalid argument 0: hex string without 0x prefix", "unknown"),
        (-32601, "the method eth_feeHistory does not exist/is not available", "unknown"),
        (-32000, "unknown transaction", "unknown"),
    ],
)
def test_kinds_of_errors(number, message, kind):
    error = Refusal(number, message).to_error()
    assert isinstance(error, RpcError)
    assert (error.kind, error.number) == (kind, number)


@pytest.mark.parametrize(
    "message",
    [
        "daily request count exceeded, request rate limited",
        "Your app has exceeded its compute units per second capacity.",
        "Too Many Requests",
    ],
)
def test_texts_of_rate_limits(message):
    assert type(Refusal(-32000, message).to_error()) is EndpointFault


@pytest.mark.parametrize(
    "message",
    [
        "block range extends beyond current head block",
        "One of the blocks specified in filter (fromBlock, toBlock or blockHash) cannot be found.",
        "historical state 0x12 is not available",
    ],
)
def test_texts_of_endpoints_that_lag(message):
    assert isinstance(Refusal(-32000, message).to_error(), EndpointLags)


def test_odd_errors_are_errors():
    for odd in (None, 5, "text", [], {}, {"code": "x", "message": 5}):
        assert isinstance(Refusal.parse(odd).to_error(), RpcError)


def test_revert_data_that_lies_is_read_as_far_as_it_goes():
    good = bytes.fromhex(ERROR_STRING[2:])
    assert decode_revert(good) == "ticket is expired"
    for end in range(len(good)):
        decode_revert(good[:end])
    far = good[:4] + (2**256 - 1).to_bytes(32, "big") + good[36:]
    assert decode_revert(far) == ""
    assert decode_revert(b"") is None


def test_retry_after_texts():
    assert _retry_after_s("7") == 7
    assert _retry_after_s("soon") == 0
    assert _retry_after_s("") == 0
    assert _retry_after_s("nan") == 0
    assert _retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert _retry_after_s("Wed, 21 Oct 2099 07:28:00 GMT") > 1e9


def test_an_endpoint_shows_nothing_but_its_host():
    endpoint = Endpoint("https://user:password@rpc.example:8545/v3/key?token=secret")
    assert repr(endpoint) == "Endpoint(rpc.example:8545)"
    assert endpoint.name == "rpc.example:8545"
