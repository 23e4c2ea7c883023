"""Views against the real contracts: after each event they equal what the contracts say."""

import pytest
from attrs import asdict
from podium.chain.contracts import (
    BondingManager,
    Controller,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
    Token,
)
from podium.chain.follow import FollowLimits, HeadFollower
from podium.chain.reader import Addresses
from podium.chain.rpc import RpcPool
from podium.chain.views import ChainViews
from podium.crypto import KeySigner
from podium.model import MAX_WIN_PROB
from podium.payments.onchain import ChainBroker
from podium.payments.ticket import TicketTerms, rand_hash
from podium.wire.payment import ExpirationParams, TicketParams

ETHER = 10**18
RAND = 0x1234
SENDERS = ("gateway", "gateway2")


class MemoryHeads:
    """A head store."""

    def __init__(self):
        self.kept = []

    async def heads(self):
        return self.kept

    async def keep_heads(self, heads):
        self.kept = list(heads)

    async def get(self, name):
        return None

    async def put_value(self, name, value):
        pass


class Followed:
    """Views that follow a devnet, and what the contracts say instead."""

    def __init__(self, devnet, pool, addresses):
        self.devnet, self.pool = devnet, pool
        self.us = devnet.account("orchestrator").address
        self.problems = []
        self.views = ChainViews(
            pool, addresses, self.us, on_problem=lambda *both: self.problems.append(both)
        )
        self.follower = HeadFollower(
            pool,
            MemoryHeads(),
            self.views.addresses,
            self.views.topics,
            self.views.on_update,
            poll_interval_s=1,
            limits=FollowLimits(rewind_after_s=0),  # a shorter chain is no lag here
        )

    def address(self, name):
        return self.devnet.account(name).address

    async def known(self):
        """Let the gateways be known, so that their events matter."""
        await self.follower.step()
        for name in SENDERS:
            await self.views.sender(self.address(name))

    async def check(self):
        """Follow to the head; everything held must be what the contracts say, at no request."""
        await self.follower.step()
        before = self.pool.calls.total()
        held = self.held()
        held["senders"] = [asdict(await self.views.sender(self.address(n))) for n in SENDERS]
        held["active"] = await self.views.is_active(self.us, self.views.current_round)
        assert self.pool.calls.total() == before
        assert held == self.said()
        assert self.problems == []
        return self.views

    def held(self):
        views = self.views
        newest = views.last_initialized_round
        own = asdict(views.orchestrator)
        del own["address"]
        return {
            "l1": views.l1_block,
            "round": views.current_round,
            "last": newest,
            "initialized": views.round_initialized,
            "locked": views.round_locked,
            "left": views.blocks_left_in_round,
            "hashes": [views.round_hash(newest - n) for n in range(3)],
            "pool": views.pool_size,
            "validity": views.ticket_validity_rounds,
            "paused": views.paused,
            "registered": views.orchestrator.registered,
            "own": own,
        }

    def said(self):
        ask, rounds = self.devnet.call, RoundsManager
        newest = ask("RoundsManager", rounds.last_initialized)
        number = ask("RoundsManager", rounds.block_number)
        start = ask("RoundsManager", rounds.start_block)
        return {
            "l1": number,
            "round": ask("RoundsManager", rounds.current_round),
            "last": newest,
            "initialized": ask("RoundsManager", rounds.initialized),
            "locked": ask("RoundsManager", rounds.locked),
            "left": start + ask("RoundsManager", rounds.round_length) - number,
            "hashes": [
                ask("RoundsManager", rounds.block_hash_for_round, max(newest - n, 0))
                for n in range(3)
            ],
            "pool": ask("BondingManager", BondingManager.pool_size),
            "validity": ask("TicketBroker", TicketBroker.ticket_validity_period),
            "paused": ask("Controller", Controller.paused),
            "registered": ask("BondingManager", BondingManager.is_registered, self.us),
            "own": self.own_said(),
            "senders": [self.sender_said(self.address(name)) for name in SENDERS],
            "active": ask("BondingManager", BondingManager.is_active, self.us),
        }

    def own_said(self):
        ask, us = self.devnet.call, self.us
        coder = ask("BondingManager", BondingManager.get_transcoder, us)
        delegator = ask("BondingManager", BondingManager.get_delegator, us)
        locks = (
            (n, *ask("BondingManager", BondingManager.unbonding_lock, us, n))
            for n in range(delegator[6])
        )
        return {
            "last_reward_round": coder[0],
            "reward_cut": coder[1],
            "fee_share": coder[2],
            "last_active_stake_update_round": coder[3],
            "activation_round": coder[4],
            "deactivation_round": coder[5],
            "bonded": delegator[0],
            "delegate": delegator[2],
            "total_stake": ask("BondingManager", BondingManager.total_stake, us),
            "start_round": delegator[4],
            "last_claim_round": delegator[5],
            "next_lock_id": delegator[6],
            "stake": ask("BondingManager", BondingManager.pending_stake, us, 0),
            "pending_fees": ask("BondingManager", BondingManager.pending_fees, us, 0),
            "service_uri": ask("ServiceRegistry", ServiceRegistry.get_uri, us),
            "lpt_balance": ask("LivepeerToken", Token.balance_of, us),
            "eth_balance": self.devnet.balance(us),
            "locks": tuple(
                {"id": n, "amount": amount, "withdraw_round": withdraw_round}
                for n, amount, withdraw_round in locks
                if amount
            ),
        }

    def sender_said(self, sender):
        ask = self.devnet.call
        info = ask("TicketBroker", TicketBroker.get_sender_info, sender)
        return {
            "deposit": info[0][0],
            "withdraw_round": info[0][1],
            "reserve_remaining": info[1][0],
            "reserve_claimed": info[1][1],
            "claimed_by_us": ask("TicketBroker", TicketBroker.claimed_reserve, sender, self.us),
        }

    def redeem(self, face_value, nonce, gateway="gateway"):
        """Redeem a ticket of a gateway that is sure to win."""
        views, signer = self.views, KeySigner(self.devnet.account(gateway).key)
        newest = views.last_initialized_round
        expiration = ExpirationParams(newest, views.round_hash(newest))
        params = TicketParams(
            recipient=self.us,
            face_value=face_value,
            win_prob=MAX_WIN_PROB,
            recipient_rand_hash=rand_hash(RAND),
            seed=1,
            expiration_block=views.l1_block + 40,
            expiration_params=expiration,
        )
        terms = TicketTerms(signer.address, params, expiration, recipient_rand=RAND)
        auxiliary = newest.to_bytes(32, "big") + expiration.block_hash
        ticket = (
            self.us,
            signer.address,
            face_value,
            MAX_WIN_PROB,
            nonce,
            params.recipient_rand_hash,
            auxiliary,
        )
        signature = signer.sign_digest(terms.ticket_hash(nonce))
        self.devnet.send("redeemer", "TicketBroker", TicketBroker.redeem, ticket, signature, RAND)


@pytest.fixture
async def followed(devnet):
    pool = RpcPool([devnet.rpc_url])
    addresses = await Addresses.load(pool, devnet.addresses["Controller"])
    followed = Followed(devnet, pool, addresses)
    await followed.known()
    yield followed
    await pool.aclose()


async def test_rounds(devnet, followed):
    await followed.check()
    devnet.mine(55)
    assert (await followed.check()).round_locked
    devnet.to_next_round()
    assert not (await followed.check()).round_initialized
    devnet.initialize_round()
    assert (await followed.check()).round_initialized
    devnet.to_next_round()  # one is skipped
    devnet.next_round()
    views = await followed.check()
    assert views.round_hash(views.current_round - 1) == bytes(32)


async def test_funding_and_unlocking(devnet, followed):
    gateway = followed.address("gateway")
    devnet.fund_gateway("gateway", 3 * ETHER, 2 * ETHER)
    views = await followed.check()
    assert (await views.sender(gateway)).deposit == 3 * ETHER
    devnet.send("gateway", "TicketBroker", TicketBroker.unlock)
    views = await followed.check()
    assert (await views.sender(gateway)).withdraw_round == views.current_round + 2
    devnet.fund_gateway("gateway", 0, 1)  # which takes the unlock back
    await followed.check()
    devnet.send("gateway", "TicketBroker", TicketBroker.unlock)
    devnet.next_round()
    devnet.next_round()
    devnet.send("gateway", "TicketBroker", TicketBroker.withdraw)
    views = await followed.check()
    assert (await views.sender(gateway)).deposit == 0


async def test_the_life_of_an_orchestrator(devnet, followed):
    devnet.register_orchestrator("orchestrator", service_uri="https://127.0.0.1:8935")
    views = await followed.check()
    assert views.orchestrator.registered
    assert not await views.is_active(followed.us, views.current_round)
    devnet.register_orchestrator("orchestrator2")
    assert (await followed.check()).pool_size == 2
    devnet.next_round()
    await followed.check()
    assert await views.is_active(followed.us, views.current_round)
    assert await views.is_active(followed.address("orchestrator2"), views.current_round)
    assert not await views.is_active(followed.address("gateway"), views.current_round)

    nobody = (bytes(20), bytes(20))
    devnet.send("orchestrator", "BondingManager", BondingManager.reward_with_hint, *nobody)
    assert (await followed.check()).orchestrator.last_reward_round == views.current_round
    devnet.bond("delegator", 10 * ETHER, to="orchestrator")
    await followed.check()
    rates = (200_000, 70_000, *nobody)
    devnet.send("orchestrator", "BondingManager", BondingManager.transcoder_with_hint, *rates)
    assert (await followed.check()).orchestrator.reward_cut == 200_000
    for amount in (ETHER, 2 * ETHER):
        devnet.send(
            "orchestrator", "BondingManager", BondingManager.unbond_with_hint, amount, *nobody
        )
    assert [lock.amount for lock in (await followed.check()).locks] == [ETHER, 2 * ETHER]
    devnet.send("orchestrator", "BondingManager", BondingManager.rebond_with_hint, 0, *nobody)
    assert [lock.id for lock in (await followed.check()).locks] == [1]
    for _ in range(7):
        devnet.next_round()
    devnet.send("orchestrator", "BondingManager", BondingManager.withdraw_stake, 1)
    assert (await followed.check()).locks == ()
    rest = views.orchestrator.stake
    devnet.send("orchestrator", "BondingManager", BondingManager.unbond_with_hint, rest, *nobody)
    views = await followed.check()
    assert not views.orchestrator.registered
    assert await views.is_active(followed.us, views.current_round)
    assert not await views.is_active(followed.us, views.current_round + 1)
    devnet.next_round()
    await followed.check()


async def test_redemptions_draw_on_deposit_then_reserve(devnet, followed):
    devnet.register_orchestrator("orchestrator")
    devnet.register_orchestrator("orchestrator2")
    devnet.fund_gateway("gateway", ETHER, 4 * ETHER)
    devnet.next_round()
    await followed.check()
    followed.redeem(ETHER // 4, nonce=1)
    views = await followed.check()
    assert views.orchestrator.pending_fees > 0
    followed.redeem(ETHER, nonce=2)
    views = await followed.check()
    state = await views.sender(followed.address("gateway"))
    assert (state.deposit, state.claimed_by_us) == (0, ETHER // 4)
    assert state.reserve_claimed == ETHER // 4
    devnet.to_next_round()  # where claims begin anew, before anybody initializes it
    views = await followed.check()
    assert (await views.sender(followed.address("gateway"))).reserve_claimed == 0
    devnet.initialize_round()
    await followed.check()
    for _ in range(2):  # the second time no earnings are left to be claimed before
        devnet.send(
            "orchestrator", "BondingManager", BondingManager.withdraw_fees, followed.us, ETHER // 10
        )
        await followed.check()


async def test_the_pause(devnet, followed):
    pause, unpause = Controller.paused_event.signature, Controller.unpaused_event.signature
    assert (pause, unpause) == ("Pause()", "Unpause()")
    devnet.send("deployer", "Controller", type(Controller.paused)("pause()"))
    assert (await followed.check()).paused
    devnet.send("deployer", "Controller", type(Controller.paused)("unpause()"))
    assert not (await followed.check()).paused


async def test_parameters_are_changed(devnet, followed):
    function = type(Controller.paused)
    devnet.send("deployer", "RoundsManager", function("setRoundLength(uint256)"), 30)
    devnet.send("deployer", "TicketBroker", function("setTicketValidityPeriod(uint256)"), 3)
    views = await followed.check()
    assert views.ticket_validity_rounds == 3
    devnet.mine(40)
    await followed.check()


@pytest.mark.parametrize("deeper", [False, True])
async def test_a_reorg_takes_all_back(devnet, followed, deeper):
    devnet.register_orchestrator("orchestrator")
    devnet.fund_gateway("gateway", ETHER, 4 * ETHER)
    devnet.next_round()
    before = await followed.check()
    number = before.current_round
    snapshot = devnet.snapshot()
    followed.redeem(2 * ETHER, nonce=1)
    devnet.fund_gateway("gateway2", ETHER, ETHER)
    devnet.next_round()
    devnet.send(
        "orchestrator", "BondingManager", BondingManager.unbond_with_hint, 1, bytes(20), bytes(20)
    )
    views = await followed.check()
    assert (views.last_initialized_round, len(views.locks)) == (number + 1, 1)
    devnet.revert(snapshot)
    devnet.mine(200 if deeper else 3)  # a longer chain, and a shorter one
    views = await followed.check()
    assert (views.last_initialized_round, views.locks) == (number, ())
    assert (await views.sender(followed.address("gateway2"))).deposit == 0


async def test_a_thousand_funds_of_a_known_sender_cost_no_request(devnet, followed):
    devnet.fund_gateway("gateway", ETHER, ETHER)
    await followed.follower.step()
    broker, gateway = ChainBroker(followed.views), followed.address("gateway")
    before = followed.pool.calls.total()
    for _ in range(1000):
        funds = await broker.sender_funds(gateway)
        await broker.is_active(followed.us, followed.views.last_initialized_round)
    assert funds.deposit == ETHER
    assert followed.pool.calls.total() == before
