import pytest
from podium.chain.networks import PRESETS, find_network, settle_chain_id
from podium.crypto import checksum_address
from podium.errors import ConfigInvalid, WrongChain

ADDRESS = b"\x0c" * 20


def test_arbitrum_one():
    network = find_network("arbitrum-one-mainnet")
    assert (network.chain_id, network.redeem_gas) == (42161, 1_200_000)
    assert checksum_address(network.controller) == "0xD8E8328501E9645d16Cf49539efC04f734606ee4"
    assert checksum_address(network.price_feed) == "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612"
    assert checksum_address(network.ai_registry) == "0x04C0b249740175999E5BF5c9ac1dA92431EF34C5"
    assert (network.on_chain, network.min_gas_price_wei) == (True, 0)


@pytest.mark.parametrize(
    ("name", "chain_id", "redeem_gas", "min_gas_price"),
    [
        ("mainnet", 1, 350_000, 10**9),
        ("arbitrum-one-rinkeby", 421611, 1_200_000, 0),
        ("rinkeby", 4, 350_000, 0),
    ],
)
def test_the_reference_networks(name, chain_id, redeem_gas, min_gas_price):
    network = find_network(name)
    assert len(network.controller) == 20
    assert network.chain_id == chain_id
    assert (network.redeem_gas, network.min_gas_price_wei) == (redeem_gas, min_gas_price)


def test_arbitrum_sepolia_needs_a_controller_and_reckons_as_on_arbitrum():
    with pytest.raises(ConfigInvalid, match=r"chain\.controller: .* \"arbitrum-sepolia\""):
        find_network("arbitrum-sepolia")
    network = find_network("arbitrum-sepolia", ADDRESS)
    assert (network.chain_id, network.redeem_gas) == (421614, 1_200_000)
    assert network.controller == ADDRESS


def test_a_name_of_ones_own_needs_a_controller_and_serves_any_chain():
    with pytest.raises(ConfigInvalid, match=r"chain\.controller"):
        find_network("mine")
    network = find_network("mine", ADDRESS)
    assert (network.name, network.chain_id, network.redeem_gas) == ("mine", None, 350_000)
    assert find_network("devnet", ADDRESS).chain_id == 31337


def test_off_chain_there_is_nothing():
    network = find_network("offchain")
    assert (network.on_chain, network.controller, network.chain_id) == (False, None, None)


def test_a_controller_that_is_given_wins():
    assert find_network("arbitrum-one-mainnet", ADDRESS).controller == ADDRESS


def test_each_preset_can_be_used():
    assert len({network.name for network in PRESETS}) == len(PRESETS)
    for network in PRESETS:
        assert network.poll_interval_s > 0
        assert network.confirmations >= 1


class Rpc:
    def __init__(self, answer):
        self.answer = answer

    async def call(self, method, *params, timeout_s=None):
        assert method == "eth_chainId"
        return self.answer


class Store:
    def __init__(self):
        self.values = {}

    async def get(self, name):
        return self.values.get(name)

    async def put_value(self, name, value):
        self.values[name] = value


async def test_the_chain_id_is_remembered_and_must_stay():
    store = Store()
    network = find_network("mine", ADDRESS)
    assert await settle_chain_id(Rpc("0x7"), store, network) == 7
    assert await settle_chain_id(Rpc("0x7"), store, network) == 7
    with pytest.raises(WrongChain, match="used with chain 7, and this is chain 8"):
        await settle_chain_id(Rpc("0x8"), store, network)
    assert store.values == {"chain_id": "7"}


async def test_a_network_has_its_chain_id():
    store = Store()
    network = find_network("arbitrum-one-mainnet")
    with pytest.raises(WrongChain, match="is chain 42161, and the endpoint serves chain 1"):
        await settle_chain_id(Rpc("0x1"), store, network)
    assert store.values == {}
    assert await settle_chain_id(Rpc(hex(42161)), store, network) == 42161


@pytest.mark.parametrize("answer", [None, "arbitrum", 5])
async def test_no_chain_id(answer):
    with pytest.raises(WrongChain, match=r"chain\.rpc_urls"):
        await settle_chain_id(Rpc(answer), Store(), find_network("mine", ADDRESS))
