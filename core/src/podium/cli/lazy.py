"""A command group that imports a command only when it runs, and turns errors into exit codes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from podium.errors import ConfigInvalid, PodiumError

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_FAILURE = 1
EXIT_CONFIG = 2


@frozen
class Entry:
    """A command that is not imported yet.

    Attributes:
        target: ``module:attribute``.
        help: Its line in ``podium --help``.
        extra: The extra of the distribution that it needs.
    """

    target: str
    help: str
    extra: str = ""


class Failed(click.ClickException):
    """A failure that was foreseen, said in one line or several."""

    exit_code = EXIT_FAILURE

    def show(self, file: Any = None) -> None:
        """Write each line with who says it."""
        for line in self.message.splitlines():
            click.echo(f"podium: {line}", file=file, err=file is None)


class Misconfigured(Failed):
    """The configuration has problems, one a line."""

    exit_code = EXIT_CONFIG


class LazyGroup(click.Group):
    """A group whose commands are named, not imported.

    Args:
        entries: Its commands.
        more: Returns further ones, asked only for what is not among these; they come last.
    """

    def __init__(
        self,
        *args: Any,
        entries: dict[str, Entry],
        more: Callable[[], dict[str, Entry]] = dict,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries
        self.more = more

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the order they were given."""
        del ctx
        return list(self._all())

    def _all(self) -> dict[str, Entry]:
        return self.entries | {k: v for k, v in self.more().items() if k not in self.entries}

    def _entry(self, name: str) -> Entry | None:
        return self.entries.get(name) or self.more().get(name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        entry = self._entry(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise _advise(entry, error) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._all().items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what was foreseen ends in a sentence, not in a traceback."""
        try:
            return super().invoke(ctx)
        except ConfigInvalid as error:
            raise Misconfigured(str(error)) from error
        except PodiumError as error:
            raise Failed(str(error)) from error
        except ModuleNotFoundError as error:
            raise _advise(self._entry(ctx.invoked_subcommand or ""), error) from error


def _advise(entry: Entry | None, error: ModuleNotFoundError) -> Exception:
    """Name the extra that brings a missing package; a missing module of ours is a fault."""
    package = (error.name or "").partition(".")[0]
    if entry is None or not entry.extra or package == "podium":
        return error
    return Failed(f"this needs the package {package}: pip install 'podium[{entry.extra}]'")
