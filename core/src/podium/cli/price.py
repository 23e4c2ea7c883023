"""``podium price``: what a gateway is quoted, and why."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import httpx
from attrs import frozen
from podium_hookspecs import CAPABILITY_NUMBERS, AdmitRequest, PriceRequest

from podium.cli.lazy import Failed
from podium.cli.options import config_option
from podium.cli.values import EthereumAddress
from podium.config.load import find_config, load_settings
from podium.crypto import checksum_address
from podium.web.prices import PRICE_PATH

if TYPE_CHECKING:
    from podium.config.settings import Settings
    from podium.pluginhost import PluginHost
    from podium.pricing.explain import Multiplier

TIMEOUT_S = 15.0
"""An admission plugin may ask somebody else first."""

ANY_RECIPIENT = b"\1" * 20


class Capability(click.ParamType[int]):
    """A capability's network number, or its pipeline's name."""

    name = "NUMBER|NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        number = CAPABILITY_NUMBERS.get(value)
        if number is None and not (value.isascii() and value.isdigit()):
            self.fail(f"{value} is none of {', '.join(CAPABILITY_NUMBERS)}", param, ctx)
        return int(value) if number is None else number


@click.group()
def price() -> None:
    """Show what gateways are quoted, and why."""


@price.command()
@click.option("--sender", type=EthereumAddress(), required=True, help="The gateway.")
@click.option(
    "--capability",
    type=Capability(),
    default=0,
    show_default="transcode",
    help="The kind of work, by its network number or its pipeline's name.",
)
@click.option("--model", help="The model, or a BYOC capability's name.")
@click.option("--unit", help="What is counted [default: what its pipeline counts].")
@click.option("--json", "as_json", is_flag=True, help="Write it for programs; amounts are texts.")
@config_option
def explain(
    sender: bytes,
    capability: int,
    model: str | None,
    unit: str | None,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Ask every plugin that prices, and show who decided what the gateway is quoted.

    The node that runs with this configuration is asked. Where none runs, the enabled plugins are
    loaded here: they know nothing then of its load, nor of a chain.
    """
    settings = load_settings(find_config(config_path))
    told = asyncio.run(_explain(settings, Question(sender, capability, model, unit)))
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join(_lines(told)))
    if told["refused"]:
        raise Failed("this gateway is refused")


@frozen
class Question:
    """What the operator wants to know; see :class:`podium_hookspecs.PriceRequest`."""

    sender: bytes
    capability: int
    model: str | None
    unit: str | None

    def query(self) -> dict[str, str | int]:
        """Return it as the node is asked."""
        rest = {"model": self.model, "unit": self.unit}
        given = {key: value for key, value in rest.items() if value is not None}
        return {"sender": self.sender.hex(), "capability": self.capability, **given}


async def _explain(settings: Settings, question: Question) -> dict[str, Any]:
    told = await _ask_node(settings, question)
    return told | {"by": "node"} if told else await _here(settings, question) | {"by": "command"}


async def _ask_node(settings: Settings, question: Question) -> dict[str, Any] | None:
    """Return what the running node says; None where none runs.

    Raises:
        Failed: one runs, and does not answer.
    """
    address = settings.node.admin_address
    uri = f"http://{address.reachable_host}:{address.port}{PRICE_PATH}"
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
        try:
            reply = await client.get(uri, params=question.query())
            found: dict[str, Any] = reply.raise_for_status().json()
        except httpx.ConnectError:
            return None
        except (httpx.HTTPError, ValueError) as error:
            raise Failed(f"{uri} does not answer as a node does: {error}") from error
    return found


async def _here(settings: Settings, question: Question) -> dict[str, Any]:
    """Load the plugins in a folder of their own and ask them."""
    from podium import assembly
    from podium.pluginhost import NodeFacts, PluginHost, Services
    from podium.pricing.convert import wei_or_eth
    from podium.pricing.explain import explain as explain_price
    from podium.telemetry.logs import make_log
    from podium.telemetry.plugin_metrics import PluginMetrics
    from podium.telemetry.registry import Registry

    log, registry = make_log(level="error"), Registry()
    services = Services(
        facts=NodeFacts("0", service_uri=settings.node.advertised_uri()),
        log=lambda name: log.bind(plugin=name),
        metrics=lambda name: PluginMetrics(registry, name),
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podium-price-")))
        inside = attrs.evolve(settings, node=attrs.evolve(settings.node, data_dir=folder))
        host: PluginHost = await PluginHost.load(inside, services)
        stack.push_async_callback(host.close)
        rates = assembly.rates(settings, wei_or_eth)
        request = PriceRequest(
            question.sender,
            question.capability,
            question.model,
            question.unit or host.unit_of(question.capability),
        )
        host.open_market(wei_or_eth, rates.decide, check=False)
        asked = AdmitRequest(
            request.sender,
            "discover",
            capabilities=frozenset({request.capability}),
            model=request.model,
        )
        found = await explain_price(
            request,
            host.poll_prices(request),
            rates,
            await host.admit(asked),
            await _multiplier(inside, stack),
            charged=settings.account.given,
        )
        return found.as_json()


async def _multiplier(settings: Settings, stack: AsyncExitStack) -> Multiplier | None:
    """Return how a price is adjusted off chain, where everything it needs is in the settings."""
    from podium import assembly
    from podium.stores.sqlite import Database

    if settings.chain.on_chain:
        return None
    database = await Database.open(settings.node.data_dir / "price.sqlite3")
    stack.push_async_callback(database.close)
    overrides = assembly.Overrides()
    money = assembly.local_money(settings, overrides, database)
    payments = assembly.payments(settings, overrides, ANY_RECIPIENT, money, lambda _event: None)
    return payments.tx_cost_multiplier


def _lines(told: dict[str, Any]) -> list[str]:
    """Say it to people."""
    names = {number: name for name, number in CAPABILITY_NUMBERS.items()}
    number = told["capability"]
    work = names.get(number, f"capability {number}")
    work += f" {told['model']}" if told["model"] else ""
    rows = [
        ("gateway", checksum_address(bytes.fromhex(told["sender"][2:]))),
        ("work", f"{work}, by the {told['unit']}"),
        ("asked", "the running node" if told["by"] == "node" else "the plugins; no node runs"),
        *_answers(told),
        ("adjusted", _adjusted(told)),
        ("quoted", _quoted(told)),
    ]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _answers(told: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for answer in told["answers"]:
        text = f"refuses: {answer['error']}" if answer["error"] else "passes"
        if answer["wei_per_unit"] is not None:
            text = f"{answer['wei_per_unit']} wei"
        decides = answer["who"] == told["decided_by"]
        rows.append((f"  {answer['who']}", text + ("  <- decides" if decides else "")))
    return rows


def _adjusted(told: dict[str, Any]) -> str:
    if not told["auto_adjust"]:
        return "no"
    if told["multiplier"] is None:
        return "not known without the node: it adds what redeeming the gateway's tickets costs"
    factor = Fraction(told["multiplier"])
    return f"+ 1/{factor} for redeeming its tickets" if factor else "no: redeeming costs nothing"


def _quoted(told: dict[str, Any]) -> str:
    if told["refused"]:
        return f"refused: {told['refused']}"
    if not told["charged"]:
        return "nothing: without an account this node charges nobody"
    return f"{told['quoted']} wei per {told['unit']}"
