"""The protocol's contracts: what we call, what we listen to (contracts 1 to 8)."""

from __future__ import annotations

from podium.chain.abi import Event, Function
from podium.crypto import keccak256

PERC_DIVISOR = 1_000_000
"""100 % in the BondingManager and RoundsManager."""

NEVER = 2**256 - 1
"""The deactivation round of an orchestrator that stays."""

TICKET = "(address,address,uint256,uint256,uint256,bytes32,bytes)"


def contract_id(name: str) -> bytes:
    """Return a contract's 32-byte id in the Controller."""
    return keccak256(name.encode())


class Controller:
    """Knows the other contracts, and pauses them."""

    get_contract = Function("getContract(bytes32)", "address")
    paused = Function("paused()", "bool")

    paused_event = Event("Pause()", "")
    unpaused_event = Event("Unpause()", "")
    parameter_update = Event("ParameterUpdate(string)", "param")  # of every contract


class RoundsManager:
    """Rounds, and a block hash for each."""

    current_round = Function("currentRound()", "uint256")
    initialized = Function("currentRoundInitialized()", "bool")
    locked = Function("currentRoundLocked()", "bool")
    start_block = Function("currentRoundStartBlock()", "uint256")
    last_initialized = Function("lastInitializedRound()", "uint256")
    round_length = Function("roundLength()", "uint256")
    lock_amount = Function("roundLockAmount()", "uint256")
    block_hash_for_round = Function("blockHashForRound(uint256)", "bytes32")
    block_number = Function("blockNum()", "uint256")
    initialize = Function("initializeRound()")

    new_round = Event("NewRound(uint256,bytes32)", "*round block_hash")


class TicketBroker:
    """Deposits, reserves, redemption."""

    get_sender_info = Function("getSenderInfo(address)", "(uint256,uint256),(uint256,uint256)")
    claimed_reserve = Function("claimedReserve(address,address)", "uint256")
    claimable_reserve = Function("claimableReserve(address,address)", "uint256")
    used_tickets = Function("usedTickets(bytes32)", "bool")
    ticket_validity_period = Function("ticketValidityPeriod()", "uint256")
    unlock_period = Function("unlockPeriod()", "uint256")
    redeem = Function(f"redeemWinningTicket({TICKET},bytes,uint256)")
    batch_redeem = Function(f"batchRedeemWinningTickets({TICKET}[],bytes[],uint256[])")
    fund_deposit_and_reserve = Function("fundDepositAndReserve(uint256,uint256)")
    unlock = Function("unlock()")
    withdraw = Function("withdraw()")

    deposit_funded = Event("DepositFunded(address,uint256)", "*sender amount")
    reserve_funded = Event("ReserveFunded(address,uint256)", "*sender amount")
    withdrawal = Event("Withdrawal(address,uint256,uint256)", "*sender deposit reserve")
    unlocked = Event("Unlock(address,uint256,uint256)", "*sender start_round end_round")
    unlock_cancelled = Event("UnlockCancelled(address)", "*sender")
    reserve_claimed = Event(
        "ReserveClaimed(address,address,uint256)", "*reserve_holder claimant amount"
    )
    ticket_transfer = Event(
        "WinningTicketTransfer(address,address,uint256)", "*sender *recipient amount"
    )
    ticket_redeemed = Event(
        "WinningTicketRedeemed(address,address,uint256,uint256,uint256,uint256,bytes)",
        "*sender *recipient face_value win_prob sender_nonce recipient_rand aux_data",
    )


class BondingManager:
    """Stake, the active set, rewards, fees."""

    get_transcoder = Function(
        "getTranscoder(address)",
        "uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256",
    )
    get_delegator = Function(
        "getDelegator(address)", "uint256,uint256,address,uint256,uint256,uint256,uint256"
    )
    unbonding_lock = Function("getDelegatorUnbondingLock(address,uint256)", "uint256,uint256")
    delegator_status = Function("delegatorStatus(address)", "uint8")
    pool_size = Function("getTranscoderPoolSize()", "uint256")
    pool_max_size = Function("getTranscoderPoolMaxSize()", "uint256")
    first_in_pool = Function("getFirstTranscoderInPool()", "address")
    next_in_pool = Function("getNextTranscoderInPool(address)", "address")
    total_stake = Function("transcoderTotalStake(address)", "uint256")
    total_bonded = Function("getTotalBonded()", "uint256")
    earnings_pool = Function(
        "getTranscoderEarningsPoolForRound(address,uint256)",
        "uint256,uint256,uint256,uint256,uint256",
    )
    is_active = Function("isActiveTranscoder(address)", "bool")
    is_registered = Function("isRegisteredTranscoder(address)", "bool")
    pending_stake = Function("pendingStake(address,uint256)", "uint256")
    pending_fees = Function("pendingFees(address,uint256)", "uint256")
    unbonding_period = Function("unbondingPeriod()", "uint64")
    treasury_rate = Function("treasuryRewardCutRate()", "uint256")

    bond = Function("bond(uint256,address)")
    bond_with_hint = Function("bondWithHint(uint256,address,address,address,address,address)")
    unbond_with_hint = Function("unbondWithHint(uint256,address,address)")
    rebond_with_hint = Function("rebondWithHint(uint256,address,address)")
    rebond_from_unbonded_with_hint = Function(
        "rebondFromUnbondedWithHint(address,uint256,address,address)"
    )
    transcoder = Function("transcoder(uint256,uint256)")
    transcoder_with_hint = Function("transcoderWithHint(uint256,uint256,address,address)")
    reward_with_hint = Function("rewardWithHint(address,address)")
    withdraw_fees = Function("withdrawFees(address,uint256)")
    withdraw_stake = Function("withdrawStake(uint256)")

    bonded = Event(
        "Bond(address,address,address,uint256,uint256)",
        "*new_delegate *old_delegate *delegator additional_amount bonded_amount",
    )
    bond_transferred = Event(
        "TransferBond(address,address,uint256,uint256,uint256)",
        "*old_delegator *new_delegator old_lock_id new_lock_id amount",
    )
    earnings_claimed = Event(
        "EarningsClaimed(address,address,uint256,uint256,uint256,uint256)",
        "*delegate *delegator rewards fees start_round end_round",
    )
    rates_updated = Event(
        "TranscoderUpdate(address,uint256,uint256)", "*transcoder reward_cut fee_share"
    )
    slashed = Event(
        "TranscoderSlashed(address,address,uint256,uint256)",
        "*transcoder finder penalty finder_reward",
    )
    activated = Event("TranscoderActivated(address,uint256)", "*transcoder activation_round")
    deactivated = Event("TranscoderDeactivated(address,uint256)", "*transcoder deactivation_round")
    reward = Event("Reward(address,uint256)", "*transcoder amount")
    unbonded = Event(
        "Unbond(address,address,uint256,uint256,uint256)",
        "*delegate *delegator lock_id amount withdraw_round",
    )
    rebonded = Event(
        "Rebond(address,address,uint256,uint256)", "*delegate *delegator lock_id amount"
    )
    stake_withdrawn = Event(
        "WithdrawStake(address,uint256,uint256,uint256)", "*delegator lock_id amount withdraw_round"
    )
    fees_withdrawn = Event("WithdrawFees(address,address,uint256)", "*delegator recipient amount")


class ServiceRegistry:
    """Service URIs."""

    get_uri = Function("getServiceURI(address)", "string")
    set_uri = Function("setServiceURI(string)")

    updated = Event("ServiceURIUpdate(address,string)", "*addr service_uri")


class Minter:
    """Mints rewards."""

    mintable = Function("currentMintableTokens()", "uint256")
    inflation = Function("inflation()", "uint256")


class Token:
    """LPT, an ERC-20."""

    balance_of = Function("balanceOf(address)", "uint256")
    allowance = Function("allowance(address,address)", "uint256")
    approve = Function("approve(address,uint256)", "bool")
    total_supply = Function("totalSupply()", "uint256")
    transfer = Function("transfer(address,uint256)", "bool")


class PriceFeedContract:
    """A Chainlink aggregator."""

    description = Function("description()", "string")
    decimals = Function("decimals()", "uint8")
    latest = Function("latestRoundData()", "uint80,int256,uint256,uint256,uint80")
