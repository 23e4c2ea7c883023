"""An orchestrator's life on the real contracts: each action planned, carried out, and read back."""

import time

import pytest
from podium.chain.contracts import NEVER, BondingManager, Controller
from podium.devnet import ETHER
from podium.errors import AccountError, ActionBlocked, RpcUnavailable
from podium.protocol.actions import (
    Activate,
    Bond,
    CallReward,
    Deactivate,
    InitializeRound,
    Rebond,
    SetRates,
    SetServiceUri,
    Unbond,
    WithdrawFees,
    WithdrawStake,
    execute,
    prepare,
)

PERCENT = 10_000
URI = "https://orchestrator.example:8935"
ACTIVATE = Activate(3000 * ETHER, 10 * PERCENT, 5 * PERCENT, URI)


@pytest.fixture
def plan(line, contracts, orchestrator):
    async def prepared(action, account=orchestrator):
        return await prepare(line, contracts, account.address, action)

    return prepared


@pytest.fixture
def do(plan, orchestrator, state_of):
    """Plan an action and carry it out; returns what progress said."""

    async def done(action, account=orchestrator):
        heard = []
        made = await plan(action, account)
        await execute(made, account, lambda: state_of(account), heard.append)
        return [(each.number, each.status) for each in heard if each.status != "sending"]

    return done


async def codes(plan, action, account=None):
    made = await (plan(action) if account is None else plan(action, account))
    return [problem.code for problem in made.problems]


async def test_it_becomes_an_orchestrator_and_is_rewarded_as_foreseen(
    devnet, plan, do, state_of, orchestrator
):
    made = await plan(ACTIVATE)
    assert made.sentences == [
        "Allow the BondingManager to take 3000 LPT",
        "Bond 3000 LPT to yourself",
        "Keep 10 % of the rewards and 5 % of the fees; delegators share the rest",
        f"Register the service URI {URI}",
    ]
    assert await do(ACTIVATE) == [(n, "mined") for n in (1, 2, 3, 4)]
    gas = sum(receipt.gas_used for receipt in orchestrator.receipts)
    assert 0.5 < gas / sum(step.gas for step in made.steps) < 1
    state = await state_of(orchestrator)
    assert state.transcoder.registered
    assert not state.transcoder.active
    assert (state.transcoder.reward_cut, state.transcoder.fee_cut) == (100_000, 50_000)
    assert state.service_uri == URI
    assert await codes(plan, CallReward()) == ["not_active"]

    number = devnet.next_round()
    state = await state_of(orchestrator)
    assert state.transcoder.active
    assert state.reward_due
    expected = state.predicted_reward
    assert expected > 0
    assert await do(CallReward()) == [(1, "mined")]
    (log,) = (log for log in orchestrator.receipts[-1].logs if BondingManager.reward.matches(log))
    assert BondingManager.reward.decode(log)["amount"] == expected
    after = await state_of(orchestrator)
    assert after.transcoder.last_reward_round == number
    assert after.transcoder.total_stake == 3000 * ETHER + expected
    assert (await plan(CallReward())).steps == ()


async def test_stake_comes_and_goes(devnet, plan, do, state_of, orchestrator):
    await do(ACTIVATE)
    devnet.next_round()
    assert await do(Bond(7 * ETHER)) == [(1, "mined"), (2, "mined")]
    stake = (await state_of(orchestrator)).delegator.stake
    assert stake == 3007 * ETHER
    assert await do(Unbond(3 * ETHER)) == [(1, "mined")]
    assert await codes(plan, WithdrawStake([0])) == ["lock_pending"]
    assert await codes(plan, WithdrawStake()) == ["nothing_to_withdraw"]
    assert await do(Rebond(0)) == [(1, "mined")]
    assert (await state_of(orchestrator)).delegator.stake == stake
    assert await codes(plan, Rebond(0)) == ["no_such_lock"]


async def test_what_it_says_of_itself_changes_and_it_leaves(
    devnet, plan, do, state_of, orchestrator
):
    await do(ACTIVATE)
    devnet.next_round()  # where a change of rates needs the reward first
    assert await do(SetRates(fee_cut=7 * PERCENT)) == [(1, "mined"), (2, "mined")]
    state = await state_of(orchestrator)
    assert (state.transcoder.reward_cut, state.transcoder.fee_cut) == (100_000, 70_000)
    assert state.rewarded
    assert await do(SetServiceUri("https://other.example")) == [(1, "mined")]
    assert (await state_of(orchestrator)).service_uri == "https://other.example:8935"

    number = devnet.next_round()
    assert await do(Deactivate()) == [(1, "mined"), (2, "mined")]
    state = await state_of(orchestrator)
    assert not state.transcoder.registered
    assert state.transcoder.active
    assert state.transcoder.deactivation_round == number + 1
    assert state.rewarded  # before it left, and the reward went along
    assert state.delegator.stake == 0
    assert state.delegator.locks[0].amount > 3000 * ETHER
    assert await codes(plan, Deactivate()) == ["not_registered"]
    for _ in range(7):
        devnet.next_round()
    before = (await state_of(orchestrator)).lpt
    assert await do(WithdrawStake()) == [(1, "mined")]
    assert (await state_of(orchestrator)).lpt == before + state.delegator.locks[0].amount


async def test_activation_takes_stake_back_from_an_unbonding_lock(devnet, plan, do, state_of):
    await do(ACTIVATE)
    devnet.next_round()
    await do(Deactivate())
    devnet.next_round()
    again = Activate(1, 10 * PERCENT, 5 * PERCENT, URI, lock_id=0)
    assert [s.split(" of lock")[0][:8] for s in (await plan(again)).sentences] == ["Bond the"]
    assert await do(again) == [(1, "mined")]
    assert await do(again) == []
    devnet.next_round()
    state = await state_of(devnet.account("orchestrator").address)
    assert state.transcoder.active
    assert state.transcoder.deactivation_round == NEVER


async def test_a_broken_off_activation_goes_on_where_it_stopped(
    line, plan, do, orchestrator, state_of
):
    made = await plan(ACTIVATE)
    steps = 0

    def cut_the_line(progress):
        nonlocal steps
        steps += progress.status == "mined"
        if steps == 2:
            line.broken = "down"

    with pytest.raises(RpcUnavailable):
        await execute(made, orchestrator, lambda: state_of(orchestrator), cut_the_line)
    line.broken = None
    assert [each.status for each in await _run(made, orchestrator, state_of)] == [
        "skipped", "skipped", "sending", "mined", "sending", "mined",
    ]  # fmt: skip
    assert (await state_of(orchestrator)).delegator.bonded == 3000 * ETHER
    assert await do(ACTIVATE) == []
    assert len(line.sent) == 4


async def _run(made, orchestrator, state_of):
    heard = []
    await execute(made, orchestrator, lambda: state_of(orchestrator), heard.append)
    return heard


async def test_a_reward_that_the_node_called_meanwhile_is_left_out(
    devnet, plan, do, orchestrator, state_of
):
    await do(ACTIVATE)
    devnet.next_round()
    made = await plan(SetRates(reward_cut=0))
    assert len(made.steps) == 2
    none = bytes(20)
    devnet.send("orchestrator", "BondingManager", BondingManager.reward_with_hint, none, none)
    heard = [each.status for each in await _run(made, orchestrator, state_of)]
    assert heard == ["skipped", "sending", "mined"]
    assert (await state_of(orchestrator)).transcoder.reward_cut == 0


async def test_stake_that_is_bonded_elsewhere_moves(devnet, plan, do, state_of, orchestrator):
    devnet.register_orchestrator("orchestrator2", 9 * ETHER)
    devnet.bond("orchestrator", 20 * ETHER, to="orchestrator2")
    wanted = Activate(20 * ETHER, 0, 0, URI)
    assert (await plan(wanted)).sentences[0] == "Move the stake to yourself"
    await do(wanted)
    state = await state_of(orchestrator)
    assert [stake for _, stake in state.pool.members] == [20 * ETHER, 9 * ETHER]
    assert state.transcoder.registered


async def test_fees_are_withdrawn_where_the_operator_says(devnet, plan, do, state_of, orchestrator):
    await do(ACTIVATE)
    devnet.next_round()
    await do(CallReward())
    assert await codes(plan, WithdrawFees(orchestrator.address)) == ["nothing_to_withdraw"]
    earn(devnet, ETHER)
    fees = (await state_of(orchestrator)).delegator.fees
    assert 0 < fees <= ETHER
    assert await codes(plan, WithdrawFees(orchestrator.address, fees + 1)) == ["insufficient_fees"]
    assert await codes(plan, WithdrawFees(bytes(20))) == ["bad_recipient"]
    other = bytes.fromhex("12" * 20)
    made = await plan(WithdrawFees(other, 10**15))
    assert made.warnings
    assert made.sentences[0].startswith("Withdraw 0.001 ETH of fees to 0x1212")
    assert await do(WithdrawFees(other, 10**15)) == [(1, "mined")]
    assert devnet.balance(other) == 10**15
    assert await do(WithdrawFees(other)) == [(1, "mined")]
    assert devnet.balance(other) == fees
    assert (await state_of(orchestrator)).delegator.fees == 0


def earn(devnet, wei):
    """Have the TicketBroker pay fees: the Minter gets the ETH, the BondingManager is told."""
    broker, minter = devnet.addresses["TicketBroker"], devnet.addresses["Minter"]
    devnet.set_balance(minter, devnet.balance(minter) + wei)
    call = {
        "from": "0x" + broker.hex(),
        "to": "0x" + devnet.addresses["BondingManager"].hex(),
        "data": "0x3aeb512c"
        + devnet.account("orchestrator").address.rjust(32, b"\0").hex()
        + wei.to_bytes(32, "big").hex()
        + devnet.current_round.to_bytes(32, "big").hex(),
        "gas": hex(10**6),
    }
    devnet.set_balance(broker, ETHER)
    devnet.rpc.call("anvil_impersonateAccount", call["from"])
    sent = devnet.rpc.call("eth_sendTransaction", call)
    devnet.rpc.call("anvil_stopImpersonatingAccount", call["from"])
    for _ in range(500):
        if receipt := devnet.rpc.call("eth_getTransactionReceipt", sent):
            break
        time.sleep(0.01)
    assert receipt["status"] == "0x1"


async def test_a_round_is_initialized_once(devnet, plan, do):
    assert (await plan(InitializeRound())).steps == ()
    devnet.to_next_round()
    assert await codes(plan, ACTIVATE) == ["round_not_initialized"]
    assert await do(InitializeRound()) == [(1, "mined")]
    assert devnet.round_initialized


# ---------------------------------------------------------------- wrong states: nothing is sent


async def refused(plan, orchestrator, state_of, action):
    """Check that an action is refused without any effect; returns the reasons."""
    made = await plan(action)
    with pytest.raises(ActionBlocked) as caught:
        await execute(made, orchestrator, lambda: state_of(orchestrator))
    assert orchestrator.requests == []
    assert (await state_of(orchestrator)).allowance == 0
    return caught.value.reasons


async def test_a_locked_round(devnet, plan, orchestrator, state_of):
    left = devnet.to_next_round() and 60 - devnet.block_number % 60
    devnet.initialize_round()
    devnet.mine(left - 4)
    (reason,) = await refused(plan, orchestrator, state_of, ACTIVATE)
    assert "at the end of a round: try again in 3 blocks" in reason


async def test_a_paused_protocol(devnet, plan, orchestrator, state_of):
    pause = type(Controller.paused)("pause()")
    devnet.send("deployer", devnet.controller, pause)
    for action in (ACTIVATE, Bond(ETHER), InitializeRound(), CallReward()):
        (reason,) = await refused(plan, orchestrator, state_of, action)
        assert reason == "the protocol is paused: try again when it is not"


async def test_too_little_lpt_and_too_little_eth(devnet, plan, orchestrator, state_of):
    devnet.set_balance("orchestrator", 10**12)
    much = Activate(100_001 * ETHER, 0, 0, URI)
    lpt, eth = await refused(plan, orchestrator, state_of, much)
    assert "has 100000 LPT and would bond 100001 LPT" in lpt
    assert "has 0.000001 ETH and needs about" in eth


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("https://0.0.0.0:8935", "no address that gateways can connect to"),
        ("https://[::]:8935", "no address that gateways can connect to"),
        ("http://orchestrator.example:8935", "only connect with TLS"),
        ("https://orchestrator.example:8935/path", "without a path"),
        ("ftp://orchestrator.example", "must be https or http"),
        ("", "give the service URI"),
    ],
)
async def test_a_service_uri_that_no_gateway_could_use(
    devnet, plan, orchestrator, state_of, uri, says
):
    reasons = await refused(plan, orchestrator, state_of, Activate(ETHER, 0, 0, uri))
    assert len(reasons) == 1
    assert says in reasons[0]


async def test_an_account_that_is_not_registered(plan, orchestrator, state_of):
    for action, code in (
        (SetRates(reward_cut=1), "not_registered"),
        (Deactivate(), "not_registered"),
        (CallReward(), "not_active"),
        (Unbond(1), "not_bonded"),
        (Rebond(0), "no_such_lock"),
        (WithdrawStake([4]), "no_such_lock"),
        (WithdrawStake(), "nothing_to_withdraw"),
        (Bond(0), "bad_amount"),
    ):
        assert await codes(plan, action) == [code]
        assert len(await refused(plan, orchestrator, state_of, action)) == 1


async def test_another_accounts_key_sends_nothing(plan, transactor_of, state_of, orchestrator):
    made, other = await plan(ACTIVATE), transactor_of("orchestrator2")
    with pytest.raises(AccountError):
        await execute(made, other, lambda: state_of(orchestrator))
    assert other.requests == []


async def test_stake_that_is_pending_cannot_be_unbonded_yet(do, plan):
    await do(ACTIVATE)
    assert await codes(plan, Unbond(ETHER)) == ["bond_pending"]
    assert await codes(plan, Unbond(3001 * ETHER)) == ["insufficient_stake"]


async def test_a_refusal_that_nobody_foresaw_is_found_by_the_dry_run(
    devnet, line, contracts, orchestrator
):
    class Odd:
        def plan(self, state):
            made = InitializeRound().plan(state)
            assert made.steps == ()
            from podium.protocol.draft import Draft, initialize_request

            draft = Draft("odd", state)
            draft.add(initialize_request(state.contracts, state.round.number), 1, "Do it twice")
            return draft.finish()

    made = await prepare(line, contracts, orchestrator.address, Odd())
    (problem,) = made.problems
    assert problem.code == "reverted"
    assert problem.text == "Do it twice: the contract refuses: round already initialized"
