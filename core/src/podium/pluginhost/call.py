"""The only place where plugins' hooks are called.

pluggy keeps and checks the implementations; the calls step around its own,
which neither says which plugin answered nor survives one that raises. Within
a kind of hook the order is that of the TOML: the operator ranks decisions,
so ordering marks and wrappers of plugins are refused when they are loaded.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from typing import Any, TypeVar

import pluggy
from attrs import frozen
from podium_hookspecs import PluginError, specs

from podium.bounded import Escaped, Overdue, bounded
from podium.errors import PodiumError

T = TypeVar("T")
PREFIX = "podium_"
_MARKS = ("tryfirst", "trylast", "wrapper", "hookwrapper")


class PluginFailure(PodiumError):
    """A plugin did not do what it was asked.

    Attributes:
        plugin: Its name.
        what: The step that failed: a hook's name, ``import``, ...
        cause: What was raised, None when the host found the fault.
    """

    code = "plugin"

    def __init__(
        self, plugin: str, what: str, reason: str, cause: BaseException | None = None
    ) -> None:
        super().__init__(f"{what}: {reason}")
        self.plugin = plugin
        self.what = what
        self.cause = cause


@frozen
class _Call:
    """One implementation, ready to be called with what it takes."""

    plugin: str
    function: Callable[..., Any]
    argnames: tuple[str, ...]

    def __call__(self, arguments: dict[str, object]) -> Any:
        return self.function(*[arguments[name] for name in self.argnames])


def attempt(plugin: str, what: str, func: Callable[[], T]) -> T:
    """Run a plugin's code; whatever it raises becomes a ``PluginFailure`` that names it."""
    try:
        return func()
    except BaseException as error:  # SystemExit, and whatever else might end the node
        raise PluginFailure(plugin, what, _reason(error), error) from error


async def attempt_async(
    plugin: str, what: str, func: Callable[[], Awaitable[T]], timeout_s: float
) -> T:
    """Await a plugin's code for a bounded time; see ``attempt``."""

    async def work() -> T:
        return await func()

    try:
        return await bounded(work(), timeout_s)
    except Exception as error:
        raise PluginFailure(plugin, what, _reason(error), error) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, PluginError | PodiumError | Overdue | Escaped):
        return str(error)
    return f"{type(error).__name__}: {error}"


class Hooks:
    """The hooks of all loaded plugins.

    Args:
        on_call: Told the plugin, the hook and the seconds of each call of a decide or observe hook.
        skipped: Returns the plugins that are not asked for now.
    """

    def __init__(
        self,
        on_call: Callable[[str, str, float], None] = lambda _plugin, _hook, _seconds: None,
        skipped: Callable[[], Container[str]] = tuple,
    ) -> None:
        self._on_call = on_call
        self._skipped = skipped
        self._manager = pluggy.PluginManager(specs.PROJECT)
        self._manager.add_hookspecs(specs)
        self._calls: dict[str, list[_Call]] = {}
        self._own: dict[str, dict[str, object]] = {}

    def equip(self, name: str, *, config: object, context: object) -> None:
        """Set what every hook of one plugin gets as its own ``config`` and ``context``."""
        self._own[name] = {"config": config, "context": context}

    def register(self, name: str, plugin: object) -> None:
        """Take a plugin's implementations, after those of the plugins before it.

        Raises:
            PluginFailure: one of them can never be called as the contract says.
        """
        for hook, function, marks in self._implementations(name, plugin):
            self._check(name, hook, function, marks)
        attempt(name, "hooks", lambda: self._manager.register(plugin, name))
        for hook in self._known():
            for impl in getattr(self._manager.hook, hook).get_hookimpls():
                if impl.plugin_name == name:
                    call = _Call(name, impl.function, tuple(impl.argnames))
                    self._calls.setdefault(hook, []).append(call)

    def forget(self, name: str) -> None:
        """Never call a plugin again."""
        for hook, calls in self._calls.items():
            self._calls[hook] = [call for call in calls if call.plugin != name]

    def take_over(self, others: Hooks, order: Iterable[str]) -> None:
        """Call others' plugins too from now on, all of them in an order of names."""
        places = {name: place for place, name in enumerate(order)}
        for hook, calls in others._calls.items():
            self._calls.setdefault(hook, []).extend(calls)
        for calls in self._calls.values():
            calls.sort(key=lambda call: places.get(call.plugin, len(places)))
        self._own |= others._own

    def ask(self, name: str, hook: str) -> list[Any]:
        """Call one plugin's implementations of a register hook; return what is not None.

        Raises:
            PluginFailure: it raised.
        """
        calls = [call for call in self._calls.get(hook, ()) if call.plugin == name]
        given = self._own.get(name, {})
        results = [attempt(name, hook, lambda call=call: call(given)) for call in calls]  # type: ignore[misc]
        return [result for result in results if result is not None]

    def decide(
        self, hook: str, *, after: str = "", **arguments: object
    ) -> Iterator[tuple[str, Any]]:
        """Call a decide hook plugin by plugin; yield each answer with its plugin.

        The caller stops at the first answer it takes.

        Args:
            hook: Its name.
            after: Ask only the plugins that come after this one.
            arguments: What the hook is called with.

        Raises:
            PluginFailure: one raised before any answer was taken.
        """
        calls = self._asked(hook)
        own = [index for index, call in enumerate(calls) if call.plugin == after]
        for call in calls[own[-1] + 1 :] if own else calls:
            answer = self._answer(call, hook, arguments)
            if answer is not None:
                yield call.plugin, answer

    def poll(self, hook: str, **arguments: object) -> Iterator[tuple[str, Any]]:
        """Call a decide hook of every plugin, to show who would say what.

        Yields:
            Each plugin with its answer, None where it passes, or its ``PluginFailure``.
        """
        for call in self._asked(hook):
            try:
                yield call.plugin, self._answer(call, hook, arguments)
            except PluginFailure as failure:
                yield call.plugin, failure

    def observe(self, hook: str, **arguments: object) -> Iterator[PluginFailure]:
        """Call an observe hook of every plugin; yield the failures."""
        for call in self._asked(hook):
            try:
                self._answer(call, hook, arguments)
            except PluginFailure as failure:
                yield failure

    def _asked(self, hook: str) -> list[_Call]:
        skipped = self._skipped()
        return [call for call in self._calls.get(hook, ()) if call.plugin not in skipped]

    def _answer(self, call: _Call, hook: str, arguments: dict[str, object]) -> Any:
        given = arguments | self._own.get(call.plugin, {})
        started_s = time.perf_counter()
        try:
            return attempt(call.plugin, hook, lambda: call(given))
        finally:
            self._on_call(call.plugin, hook, time.perf_counter() - started_s)

    def _known(self) -> list[str]:
        return [name for name in vars(self._manager.hook) if name.startswith(PREFIX)]

    def _implementations(
        self, name: str, plugin: object
    ) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
        for attribute in dir(plugin):
            marks = self._manager.parse_hookimpl_opts(plugin, attribute)
            if marks is not None:
                yield marks["specname"] or attribute, getattr(plugin, attribute), dict(marks)
            elif attribute.startswith(PREFIX) and inspect.isroutine(getattr(plugin, attribute)):
                raise PluginFailure(name, attribute, "is not marked with @hookimpl")

    def _check(
        self, name: str, hook: str, function: Callable[..., Any], marks: dict[str, Any]
    ) -> None:
        """Refuse what pluggy lets through and would then go wrong without a word."""
        if hook not in self._known():
            raise PluginFailure(name, hook, "there is no such hook")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise PluginFailure(name, hook, "is async; hooks are synchronous")
        marked = [mark for mark in _MARKS if marks.get(mark)]
        if marked:
            reason = f"{marked[0]} is not allowed; the order of the configuration file decides"
            raise PluginFailure(name, hook, reason)
        spec = getattr(self._manager.hook, hook).spec.argnames
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is not parameter.empty:
                reason = f"argument {parameter.name} has a default, so it would never be passed"
                raise PluginFailure(name, hook, reason)
            if parameter.name not in spec:
                reason = f"takes {parameter.name}, but the hook has {', '.join(spec) or 'nothing'}"
                raise PluginFailure(name, hook, reason)
