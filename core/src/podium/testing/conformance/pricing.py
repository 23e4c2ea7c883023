"""What must hold of every plugin that prices."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import evolve
from podium_hookspecs import PluginError, Price, PriceRequest

from podium.pluginhost.call import PluginFailure
from podium.testing.conformance.suite import HOOK_LIMIT_S, PluginSuite, quickest_s

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from podium.testing.loading import LoadedPlugin

FOREIGN_UNIT = "fortnight"


class PricingConformance(PluginSuite):
    """Subclass it, name the plugin, say what it prices; every test comes by inheritance."""

    def priced(self) -> Iterable[PriceRequest]:
        """Return questions that the plugin answers with a price."""
        raise NotImplementedError

    def passed(self) -> Iterable[PriceRequest]:
        """Return questions that it leaves to others."""
        return ()

    def refused(self) -> Iterable[PriceRequest]:
        """Return questions that it refuses, since it has no price it could stand by."""
        return ()

    async def ready(self, loaded: LoadedPlugin) -> None:
        """Wait until the plugin can price; override it where it needs a feed first."""

    def test_prices_are_exact_and_in_the_unit_asked_for(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                await self.ready(loaded)
                for request in self.priced():
                    price = loaded.price(request)
                    assert isinstance(price, Price), f"{request} has no price"
                    assert isinstance(price.wei_per_unit, Fraction)
                    assert price.unit == request.unit

        self.on_loop(scenario)

    def test_the_same_question_has_the_same_answer(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                await self.ready(loaded)
                for request in self.priced():
                    assert loaded.price(request) == loaded.price(request)

        self.on_loop(scenario)

    def test_what_is_not_its_own_is_left_to_others(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                await self.ready(loaded)
                for request in self.passed():
                    assert loaded.price(request) is None, f"{request} is not its own"

        self.on_loop(scenario)

    def test_another_unit_never_gets_this_unit_s_price(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                await self.ready(loaded)
                for request in self.priced():
                    price = _asked(loaded, evolve(request, unit=FOREIGN_UNIT))
                    assert price is None or price.unit == FOREIGN_UNIT

        self.on_loop(scenario)

    def test_without_a_price_it_refuses_by_type(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                await self.ready(loaded)
                for request in self.refused():
                    assert _asked(loaded, request) is None, "it has a price after all"
                    assert _refuses(loaded, request), f"{request} is passed on, not refused"

        self.on_loop(scenario)

    def test_pricing_is_quick(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                await self.ready(loaded)
                for request in self.priced():
                    took_s = quickest_s(lambda request=request: loaded.price(request))  # type: ignore[misc]
                    assert took_s < HOOK_LIMIT_S, f"podium_price takes {took_s * 1000:.1f} ms"

        self.on_loop(scenario)


def _asked(loaded: LoadedPlugin, request: PriceRequest) -> Price | None:
    """Return the answer, None for a refusal; an error that is no refusal is raised."""
    try:
        return loaded.price(request)
    except PluginFailure as failure:
        if isinstance(failure.cause, PluginError):
            return None
        raise


def _refuses(loaded: LoadedPlugin, request: PriceRequest) -> bool:
    try:
        loaded.price(request)
    except PluginFailure:
        return True
    return False
