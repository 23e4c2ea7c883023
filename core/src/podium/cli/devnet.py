"""``podium devnet``: a local chain with the real contracts, for trying things out."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from podium.devnet import Devnet

DEFAULT_PORT = 8545
NOT_RUNNING = 1
LOG = "anvil.log"

TOML = """\
[chain]
network = "devnet"
rpc_urls = ["{rpc_url}"]
controller = "{controller}"
"""

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of its record and log; another folder, another devnet [default: the cache].",
)


@click.group()
def devnet() -> None:
    """Run a local chain with the real Livepeer contracts.

    Anvil and the compiled contracts are fetched with npm on first use, into $PODIUM_CACHE or
    ~/.cache/podium. Only for trying things out: the keys are known to everybody.
    """


@devnet.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="On 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--block-time",
    "block_time_s",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Seconds between blocks; 0 makes one for each transaction.",
)
@click.option(
    "--round-length",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Blocks in a round.",
)
@click.option(
    "--unbonding-period",
    type=click.IntRange(min=0),
    default=7,
    show_default=True,
    help="Rounds until unbonded stake can be withdrawn.",
)
@click.option("--no-inflation", is_flag=True, help="Mint no rewards, so that fees come out exact.")
@data_option
@click.option(
    "--detach/--foreground",
    default=True,
    help="Leave it running, or end it with Ctrl-C [default: detach].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def up(
    port: int,
    block_time_s: int,
    round_length: int,
    unbonding_period: int,
    no_inflation: bool,
    data: Path | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Start the chain, deploy the contracts, fund the accounts."""
    from podium.devnet import DevnetOptions
    from podium.devnet.options import DEFAULT_INFLATION
    from podium.devnet.record import describe
    from podium.devnet.record import up as start

    folder = _folder(data)
    options = DevnetOptions(
        port=port,
        block_time_s=block_time_s,
        round_length=round_length,
        unbonding_period=unbonding_period,
        inflation=0 if no_inflation else DEFAULT_INFLATION,
        log_path=folder / LOG,
        detach=detach,
        progress=_progress,
    )
    signal.signal(signal.SIGTERM, _interrupt)  # so that nothing half-started stays
    running = start(folder, options)
    text = _text(describe(running), block_time_s)
    if as_json:
        text = json.dumps(describe(running))
    if detach:
        click.echo(text)
    else:
        _hold(running, folder, text)


@devnet.command()
@data_option
def down(data: Path | None) -> None:
    """End the chain; what happened on it is gone."""
    from podium.devnet.record import down as end

    ended = end(_folder(data))
    click.echo("no devnet was running" if ended is None else f"ended {ended.rpc_url}")


@devnet.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def status(ctx: click.Context, data: Path | None, as_json: bool) -> None:
    """Show whether it runs, and its block and round; exit code 1 if it does not run."""
    from podium.devnet.record import Record, describe

    record = Record.read(_folder(data))
    if record is None:
        click.echo(json.dumps({"running": False}) if as_json else "no devnet runs")
        ctx.exit(NOT_RUNNING)
    running = record.attach()
    facts = {
        "block": running.block_number,
        "round": running.current_round,
        "round_initialized": running.round_initialized,
    }
    if as_json:
        whole = {"running": True, **describe(running), "pid": record.pid, **facts}
        click.echo(json.dumps(whole))
    else:
        initialized = "initialized" if facts["round_initialized"] else "not initialized"
        click.echo(f"{record.rpc_url} (pid {record.pid})")
        click.echo(f"block {facts['block']}, round {facts['round']}, {initialized}")
    running.close()


@devnet.command()
@click.argument("blocks", type=click.IntRange(min=1), default=1)
@data_option
def mine(blocks: int, data: Path | None) -> None:
    """Mine blocks at once."""
    running = _attach(data)
    running.mine(blocks)
    click.echo(f"block {running.block_number}")
    running.close()


@devnet.command(name="round")
@data_option
def round_command(data: Path | None) -> None:
    """Mine to the next round and initialize it."""
    running = _attach(data)
    number = running.next_round()
    click.echo(f"round {number}, initialized; block {running.block_number}")
    running.close()


def _folder(data: Path | None) -> Path:
    from podium.devnet.options import default_cache_dir

    return data or default_cache_dir()


def _attach(data: Path | None) -> Devnet:
    from podium.devnet.record import Record

    return Record.require(_folder(data)).attach()


def _progress(line: str) -> None:
    click.echo(f"devnet: {line}", err=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _hold(running: Devnet, folder: Path, text: str) -> None:
    """Say what runs, wait for Ctrl-C or SIGTERM, then end it."""
    from podium.devnet import DevnetError
    from podium.devnet.record import forget

    assert running.process is not None
    try:
        click.echo(text)  # whoever reads this may end us from here on
        code = running.process.wait()
    except KeyboardInterrupt:
        return
    finally:
        running.close()
        forget(folder)
    msg = f"Anvil ended by itself, with code {code}"
    raise DevnetError(msg)


def _text(found: dict[str, Any], block_time_s: int) -> str:
    rhythm = f"a block every {block_time_s} s" if block_time_s else "a block a transaction"
    lines = [
        f"devnet at {found['rpc_url']}, chain id {found['chain_id']}, {rhythm}",
        "",
        "Contracts",
        *(f"  {name:<22}{at}" for name, at in found["contracts"].items()),
        "",
        "Accounts: throwaway keys that everybody knows, never for real money",
        *(
            f"  {name:<22}{account['address']}  {account['private_key']}"
            for name, account in found["accounts"].items()
        ),
        "",
        "For podium.toml:",
        "",
        TOML.format(**found).rstrip(),
        "",
        "Rounds start by themselves but someone must initialize them: podium devnet round",
    ]
    return "\n".join(lines)
