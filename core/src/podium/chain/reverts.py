"""Why a contract refused, as a type, with what an operator can do about it (contracts 3 to 5)."""

from __future__ import annotations

from enum import Enum, unique
from typing import Self


class RevertKind(Enum):
    """Whether the same call may succeed later."""

    FINAL = "final"
    """It never will."""

    RETRY = "retry"
    """Once the chain has moved on: a round, a block, a pause."""

    FUNDS = "funds"
    """Once somebody adds funds."""

    UNLOCKED = "unlocked"
    """Only if a sender who is withdrawing changes their mind."""

    UNKNOWN = "unknown"
    """Nobody knows: try again, ever more rarely."""


@unique
class Revert(Enum):
    """A contract's refusal.

    Attributes:
        text: The contract's own.
        kind: Whether it is worth another try.
        advice: A sentence for the operator.
    """

    # Everything.
    PAUSED = (
        "system is paused",
        RevertKind.RETRY,
        "The protocol is paused by its owners: wait until it goes on.",
    )
    ROUND_NOT_INITIALIZED = (
        "current round is not initialized",
        RevertKind.RETRY,
        "A new round has begun and nobody has initialized it yet: wait, or run"
        " `podium round initialize`.",
    )

    # RoundsManager.
    ROUND_INITIALIZED = (
        "round already initialized",
        RevertKind.FINAL,
        "The round is initialized already: there is nothing to do.",
    )
    BLOCK_HASH_FUTURE = (
        "can only retrieve past block hashes",
        RevertKind.RETRY,
        "The block is not there yet: wait for it.",
    )
    BLOCK_HASH_OLD = (
        "can only retrieve hashes for last 256 blocks",
        RevertKind.FINAL,
        "The block is too old for the contract to know its hash.",
    )

    # TicketBroker: a ticket.
    RECIPIENT_NULL = (
        "ticket recipient is null address",
        RevertKind.FINAL,
        "The ticket names no recipient: it is worthless.",
    )
    SENDER_NULL = (
        "ticket sender is null address",
        RevertKind.FINAL,
        "The ticket names no sender: it is worthless.",
    )
    AUX_DATA_LENGTH = (
        "invalid length for ticket auxData: must be 64 bytes",
        RevertKind.FINAL,
        "The ticket does not name its round properly: it is worthless.",
    )
    NO_BLOCK_HASH = (
        "ticket creationRound does not have a block hash",
        RevertKind.FINAL,
        "The ticket's round was never initialized: it is worthless.",
    )
    WRONG_BLOCK_HASH = (
        "ticket creationRoundBlockHash invalid for creationRound",
        RevertKind.FINAL,
        "The ticket belongs to another chain, or to a round that a reorg took back.",
    )
    EXPIRED = (
        "ticket is expired",
        RevertKind.FINAL,
        "The ticket's rounds are over: it was not redeemed in time.",
    )
    WRONG_RAND = (
        "recipientRand does not match recipientRandHash",
        RevertKind.FINAL,
        "The ticket was made for another random number than the node's: it is worthless.",
    )
    USED = (
        "ticket is used",
        RevertKind.FINAL,
        "The ticket was redeemed before.",
    )
    SIGNATURE_LENGTH = (
        "INVALID_SIGNATURE_LENGTH",
        RevertKind.FINAL,
        "The ticket's signature is not 65 bytes long: it is worthless.",
    )
    SIGNATURE_MALFORMED = (
        "ECDSA: invalid signature",
        RevertKind.FINAL,
        "The ticket's signature is malformed: it is worthless.",
    )
    SIGNATURE_LENGTH_ECDSA = (
        "ECDSA: invalid signature length",
        RevertKind.FINAL,
        "The ticket's signature is not 65 bytes long: it is worthless.",
    )
    SIGNATURE_S = (
        "ECDSA: invalid signature 's' value",
        RevertKind.FINAL,
        "The ticket's signature is not in its canonical form: it is worthless.",
    )
    SIGNATURE_V = (
        "ECDSA: invalid signature 'v' value",
        RevertKind.FINAL,
        "The ticket's signature is malformed: it is worthless.",
    )
    WRONG_SIGNER = (
        "invalid signature over ticket hash",
        RevertKind.FINAL,
        "The ticket is signed by somebody else than its sender: it is worthless.",
    )
    DID_NOT_WIN = (
        "ticket did not win",
        RevertKind.FINAL,
        "The ticket did not win: there is nothing to redeem.",
    )
    SENDER_UNLOCKED = (
        "sender is unlocked",
        RevertKind.UNLOCKED,
        "The sender has ended the time in which its funds were bound: it can be redeemed only if"
        " the sender funds or locks itself again before the ticket expires.",
    )
    SENDER_EMPTY = (
        "sender deposit and reserve are zero",
        RevertKind.FUNDS,
        "The sender has no funds left: it can be redeemed if the sender adds some before the"
        " ticket expires.",
    )

    # TicketBroker: a sender's funds.
    FUNDING_SUM = (
        "msg.value does not equal sum of deposit amount and reserve amount",
        RevertKind.FINAL,
        "The value sent is not deposit and reserve together.",
    )
    UNLOCK_INITIATED = (
        "unlock already initiated",
        RevertKind.FINAL,
        "Unlocking has been asked for already: wait for its round.",
    )
    NO_UNLOCK = (
        "no unlock request in progress",
        RevertKind.FINAL,
        "Ask for unlocking first.",
    )
    ACCOUNT_LOCKED = (
        "account is locked",
        RevertKind.RETRY,
        "The funds are bound until the unlock round: wait for it.",
    )

    # BondingManager.
    NOT_REGISTERED = (
        "transcoder must be registered",
        RevertKind.FINAL,
        "The orchestrator is not registered: bond LPT to itself first (`podium activate`).",
    )
    NOT_ACTIVE = (
        "caller must be an active transcoder",
        RevertKind.RETRY,
        "The orchestrator is not active in this round: it is from the round after it got into the"
        " pool, if its stake is large enough (`podium status`).",
    )
    ALREADY_REWARDED = (
        "caller has already called reward for the current round",
        RevertKind.FINAL,
        "Rewards were called for this round already: there is nothing to do until the next.",
    )
    ROUND_LOCKED = (
        "can't update transcoder params, current round is locked",
        RevertKind.RETRY,
        "Rates cannot be changed at the end of a round: wait for the next one.",
    )
    ACTIVE_NOT_REWARDED = (
        "caller can't be active or must have already called reward for the current round",
        RevertKind.RETRY,
        "Call rewards for this round first (`podium rewards call`).",
    )
    REWARD_CUT = (
        "invalid rewardCut percentage",
        RevertKind.FINAL,
        "The reward cut must be between 0 and 100 percent.",
    )
    FEE_SHARE = (
        "invalid feeShare percentage",
        RevertKind.FINAL,
        "The fee share must be between 0 and 100 percent.",
    )
    REGISTERED_DELEGATES = (
        "registered transcoders can't delegate towards other addresses",
        RevertKind.FINAL,
        "An orchestrator can only bond to itself: unbond all first.",
    )
    NOTHING_TO_BOND = (
        "delegation amount must be greater than 0",
        RevertKind.FINAL,
        "Give an amount of LPT to bond.",
    )
    LPT_BALANCE = (
        "ERC20: transfer amount exceeds balance",
        RevertKind.FUNDS,
        "The account does not have that much LPT: send LPT to it.",
    )
    LPT_ALLOWANCE = (
        "ERC20: insufficient allowance",
        RevertKind.FUNDS,
        "The BondingManager may not take that much LPT: approve it first.",
    )
    LPT_ALLOWANCE_OLD = (
        "ERC20: transfer amount exceeds allowance",
        RevertKind.FUNDS,
        "The BondingManager may not take that much LPT: approve it first.",
    )
    NOT_BONDED = (
        "caller must be bonded",
        RevertKind.FINAL,
        "The account has no stake, or only from the next round on.",
    )
    NOT_UNBONDED = (
        "caller must be unbonded",
        RevertKind.FINAL,
        "The account still has stake: rebond without naming an orchestrator.",
    )
    NOTHING_TO_UNBOND = (
        "unbond amount must be greater than 0",
        RevertKind.FINAL,
        "Give an amount of LPT to unbond.",
    )
    UNBOND_TOO_MUCH = (
        "amount is greater than bonded amount",
        RevertKind.FINAL,
        "The account does not have that much stake (`podium status`).",
    )
    NO_SUCH_LOCK = (
        "invalid unbonding lock ID",
        RevertKind.FINAL,
        "There is no such unbonding, or it was withdrawn or rebonded (`podium status`).",
    )
    WITHDRAW_EARLY = (
        "withdraw round must be before or equal to the current round",
        RevertKind.RETRY,
        "The stake is bound until its withdraw round: wait for it.",
    )
    INVALID_RECIPIENT = (
        "invalid recipient",
        RevertKind.FINAL,
        "Fees cannot be withdrawn to the zero address.",
    )
    FEES_TOO_MUCH = (
        "insufficient fees to withdraw",
        RevertKind.FINAL,
        "The account has not earned that much (`podium fees show`).",
    )
    DELEGATOR = (
        "INVALID_DELEGATOR",
        RevertKind.FINAL,
        "This account cannot hold that bond.",
    )
    DELEGATE = (
        "INVALID_DELEGATE",
        RevertKind.FINAL,
        "Nobody can bond to that address for somebody else.",
    )
    DELEGATE_CHANGE = (
        "INVALID_DELEGATE_CHANGE",
        RevertKind.FINAL,
        "Only its owner can move a bond to another orchestrator.",
    )
    ILLEGAL_CLAIM = (
        "ILLEGAL_CLAIM_EARNINGS",
        RevertKind.FINAL,
        "Earnings of that account cannot be claimed for it.",
    )
    NOT_BROKER = (
        "caller must be TicketBroker",
        RevertKind.FINAL,
        "Only the TicketBroker may call this: check chain.controller.",
    )
    NOT_ROUNDS_MANAGER = (
        "caller must be RoundsManager",
        RevertKind.FINAL,
        "Only the RoundsManager may call this: check chain.controller.",
    )
    NOT_VERIFIER = (
        "caller must be Verifier",
        RevertKind.FINAL,
        "Only the Verifier may call this.",
    )

    # Failed arithmetic: a claim that grew beyond its allowance when the pool grew (contracts 4.4).
    OVERFLOW = (
        "Panic 0x11",
        RevertKind.RETRY,
        "The contract's sums do not work out in this round, as when the pool has grown since a"
        " reserve was drawn: try again in the next round.",
    )

    UNKNOWN = (
        "",
        RevertKind.UNKNOWN,
        "The contract gave no reason that is known: it is tried again.",
    )

    kind: RevertKind
    advice: str

    def __new__(cls, text: str, kind: RevertKind, advice: str) -> Self:
        """Make the contract's text the value, which no two share."""
        member = object.__new__(cls)
        member._value_ = text
        member.kind = kind
        member.advice = advice
        return member

    @property
    def text(self) -> str:
        """The contract's own text."""
        found: str = self.value
        return found


def classify(reason: str) -> Revert:
    """Return what a contract's reason means.

    The contracts have no error codes: their texts are fixed in their code, and compared whole.

    Args:
        reason: ``Reverted.reason`` or ``TxFailed.reason``.
    """
    found = reason.strip()
    return next((each for each in Revert if each.text == found), Revert.UNKNOWN)
