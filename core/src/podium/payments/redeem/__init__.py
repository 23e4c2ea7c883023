"""Winning tickets become money: when, in what order, and never twice (payments 6)."""

from podium.payments.redeem.ports import (
    Redemption,
    RedemptionChain,
    RedemptionStore,
    Refusal,
    Situation,
    Total,
)
from podium.payments.redeem.redeemer import Redeemer
from podium.payments.redeem.rules import RedeemSettings

__all__ = [
    "RedeemSettings",
    "Redeemer",
    "Redemption",
    "RedemptionChain",
    "RedemptionStore",
    "Refusal",
    "Situation",
    "Total",
]
