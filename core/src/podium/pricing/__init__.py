"""What work costs: the configured prices, and what a sender is quoted."""

from podium.pricing.book import PriceBook, Rates, price_info

__all__ = ["PriceBook", "Rates", "price_info"]
