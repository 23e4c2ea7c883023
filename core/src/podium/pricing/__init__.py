"""What work costs: the configured prices, and what a sender is quoted."""

from podium.pricing.book import PriceBook, Rates, price_info
from podium.pricing.convert import Rate

__all__ = ["PriceBook", "Rate", "Rates", "price_info"]
