"""Probabilistic payments: tickets offered, checked, credited; winners kept."""

from podium.payments.facade import NoPayments, Payments, TicketPayments
from podium.payments.intake import Receipt, nothing_revealed
from podium.payments.keeping import Keeper
from podium.payments.ledger import Ledger
from podium.payments.local import FixedGasPrice, LocalBroker, LocalClock
from podium.payments.params import REDEEM_GAS, PaymentSettings, RandSource
from podium.payments.ports import Broker, Clock, GasPrice, SenderFunds, TicketStore
from podium.payments.secret import load_secret

__all__ = [
    "REDEEM_GAS",
    "Broker",
    "Clock",
    "FixedGasPrice",
    "GasPrice",
    "Keeper",
    "Ledger",
    "LocalBroker",
    "LocalClock",
    "NoPayments",
    "PaymentSettings",
    "Payments",
    "RandSource",
    "Receipt",
    "SenderFunds",
    "TicketPayments",
    "TicketStore",
    "load_secret",
    "nothing_revealed",
]
