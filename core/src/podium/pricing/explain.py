"""Why a sender is quoted what it is: everybody's answer, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from podium_hookspecs.errors import PluginError
from podium_hookspecs.money import Price

from podium.errors import SenderError
from podium.pricing.book import adjusted, price_info

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from fractions import Fraction

    from podium_hookspecs import Admission
    from podium_hookspecs.money import PriceRequest

    from podium.model import PriceInfo
    from podium.pricing.book import Rates

    Multiplier = Callable[[bytes], Awaitable[Fraction]]

ADMISSION = "admission"
CONFIGURATION = "configuration"


@frozen
class Answer:
    """What one said when it was asked.

    Attributes:
        who: A plugin's name, ``"admission"`` or ``"configuration"``.
        price: None where it passes or fails.
        error: Why it fails.
    """

    who: str
    price: Price | None = None
    error: str = ""

    @property
    def final(self) -> bool:
        """Whether nobody is heard after it."""
        return self.price is not None or bool(self.error)


@frozen
class Explanation:
    """What a sender would be quoted.

    Attributes:
        request: Who asked for what.
        answers: Everybody's, in the order in which they are heard.
        decided_by: Whose answer counts.
        multiplier: Face value over redemption cost, by which the price was adjusted; None: it was
            not adjusted.
        adjustable: The price is to be adjusted; where ``multiplier`` is None it is not known how.
        quoted: As it travels; None where it is refused, or nothing is charged.
        refusal: Why the sender is refused.
        charged: Whether this node charges at all: without an account it does not.
    """

    request: PriceRequest
    answers: tuple[Answer, ...]
    decided_by: str
    multiplier: Fraction | None
    adjustable: bool
    quoted: PriceInfo | None
    refusal: str = ""
    charged: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it: exact amounts are texts, wei per unit."""
        request, quoted = self.request, self.quoted
        return {
            "sender": "0x" + request.sender.hex(),
            "capability": request.capability,
            "model": request.model,
            "unit": request.unit,
            "answers": [
                {
                    "who": answer.who,
                    "wei_per_unit": str(answer.price.wei_per_unit) if answer.price else None,
                    "error": answer.error,
                }
                for answer in self.answers
            ],
            "decided_by": self.decided_by,
            "auto_adjust": self.adjustable,
            "multiplier": None if self.multiplier is None else str(self.multiplier),
            "quoted": None if quoted is None else str(quoted.wei_per_unit),
            "refused": self.refusal,
            "charged": self.charged,
        }


async def explain(
    request: PriceRequest,
    polled: Sequence[tuple[str, Price | PluginError | None]],
    rates: Rates,
    admission: Admission,
    multiplier: Multiplier | None,
    *,
    charged: bool = True,
) -> Explanation:
    """Say what a sender would be quoted, as :class:`PriceBook` would.

    Args:
        request: Who asks for what.
        polled: The plugins' answers, in the order of the file.
        rates: The configured prices.
        admission: What the plugins say of the sender.
        multiplier: Returns a sender's face value over redemption cost; None where that is not
            known.
        charged: Whether the node charges at all.
    """
    answers = (
        *([Answer(ADMISSION, admission.price)] if admission.price else []),
        *(_answer(who, said) for who, said in polled),
        _configured(rates, request),
    )
    decided = next(answer for answer in answers if answer.final)
    price = decided.price
    refusal = decided.error
    if price is not None and price.unit != request.unit:
        refusal = f"price is per {price.unit}, the work is counted in {request.unit}"
    if not admission.allow:
        refusal = f"{admission.reason or 'not admitted'} (by an admission plugin)"
    base = None if price is None or refusal else price.wei_per_unit
    adjustable = bool(rates.auto_adjust and base)
    quoted, factor = None, None
    if base is not None and charged:
        try:
            if adjustable and multiplier is not None:
                factor = await multiplier(request.sender)
            quoted = price_info(base if factor is None else adjusted(base, factor))
        except (SenderError, ValueError) as error:
            refusal = str(error)
    return Explanation(request, answers, decided.who, factor, adjustable, quoted, refusal, charged)


def _answer(who: str, said: Price | PluginError | None) -> Answer:
    if isinstance(said, PluginError):
        return Answer(who, error=str(said))
    return Answer(who, said)


def _configured(rates: Rates, request: PriceRequest) -> Answer:
    try:
        return _answer(CONFIGURATION, rates.decide(request))
    except PluginError as error:
        return _answer(CONFIGURATION, error)
