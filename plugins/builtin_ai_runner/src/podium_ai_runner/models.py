"""The models that a node serves, and their prices, from either way to write them (ai 3)."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from podium_hookspecs import ConfigError, Secret

from podium_ai_runner.pipelines.describe import BY_NAME, Description
from podium_ai_runner.pipelines.values import FALSE, TRUE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from podium_ai_runner.config import AiConfig, ModelConfig
    from podium_ai_runner.endpoint import Api

DEFAULT_GATEWAY = "default"
MAX_FILE_BYTES = 4 * 2**20
EXPECTED = "invalid AI model config expected <pipeline>:<model_id>:<warm>"
MAX_EXPONENT = 200
"""Of a price: what is written as 1e999999999 would not fit into memory."""

_ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{40}")


class AiModelsError(ValueError):
    """What is wrong with an ``-aiModels`` list; all of it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@frozen
class Model:
    """A model of one pipeline, as the executors see it.

    Attributes:
        pipeline: What it serves.
        name: On the network.
        executor: ``"docker"``, ``"process"`` or ``"external"``.
        warm: Loaded at the start and kept.
        capacity: Copies, or jobs at a time for an external one.
        url: Of an external one.
        token: Its bearer token.
        api: What the url speaks.
        upstream_model: Its name there, where that is another.
        image: Of its containers; empty: the pipeline's.
        command: Of its process; empty: the section's ``process_command``.
        environment: Of its runner, optimization flags included.
    """

    pipeline: Description
    name: str
    executor: str = "docker"
    warm: bool = False
    capacity: int = 1
    url: str = ""
    token: Secret | None = None
    api: Api = "runner"
    upstream_model: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from others: capability and name."""
        return self.pipeline.capability, self.name


@frozen
class Rate:
    """A price as it was written.

    Attributes:
        amount: For ``per`` units.
        per: How many units.
        currency: In lower case.
    """

    amount: Fraction
    per: int = 1
    currency: str = "wei"


RateKey = tuple[str, int, str]
"""Gateway's address in lower case, or ``"default"``; capability; model."""


@frozen
class Catalog:
    """All models and their prices."""

    models: tuple[Model, ...]
    rates: Mapping[RateKey, Rate]

    def rate(self, sender: bytes, capability: int, model: str) -> Rate | None:
        """Return the price for a gateway, else the one for all, else None (ai 2.6)."""
        own = self.rates.get(("0x" + sender.hex(), capability, model))
        return own or self.rates.get((DEFAULT_GATEWAY, capability, model))


@frozen
class Entry:
    """One entry of either list: a model with its price for one gateway."""

    model: Model
    rate: Rate | None = None
    gateway: str = DEFAULT_GATEWAY
    where: str = ""


def read_catalog(config: AiConfig) -> Catalog:
    """Put together what the section says.

    Raises:
        ConfigError: with everything that is wrong.
    """
    entries = [
        entry
        for index, one in enumerate(config.models)
        for entry in _from_section(one, f"plugins.ai.models[{index}]")
    ]
    problems: list[str] = []
    try:
        entries += read_ai_models(config.ai_models)
    except AiModelsError as error:
        problems += [f"plugins.ai.ai_models: {line}" for line in error.problems]
    problems += [
        f"{entry.where}: executor process needs command, or plugins.ai.process_command"
        for entry in entries
        if entry.model.executor == "process"
        if not (entry.model.command or config.process_command)
    ]
    models, rates, conflicts = _merge(entries)
    problems += conflicts
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return Catalog(tuple(models), rates)


def _from_section(one: ModelConfig, where: str) -> list[Entry]:
    executor = one.executor
    if executor == "auto":
        executor = "external" if one.url else "docker"
    model = Model(
        pipeline=BY_NAME[one.pipeline],
        name=one.model,
        executor=executor,
        warm=one.warm,
        capacity=one.capacity,
        url=one.url,
        token=one.token,
        api=one.api,
        upstream_model=one.upstream_model,
        image=one.image,
        command=one.command,
        environment=_environment(one.optimization_flags),
    )

    def rate(amount: Fraction | None) -> Rate | None:
        return None if amount is None else Rate(amount, one.per, one.currency.lower())

    entries = [Entry(model, rate(one.price), where=where)]
    return entries + [
        Entry(model, rate(amount), address.lower(), where)
        for address, amount in one.gateways.items()
    ]


def _environment(flags: Mapping[str, str | bool]) -> dict[str, str]:
    return {k: str(v).lower() if isinstance(v, bool) else v for k, v in flags.items()}


def _merge(entries: Sequence[Entry]) -> tuple[list[Model], dict[RateKey, Rate], list[str]]:
    """Add up the capacities of what is the same.

    An entry for one gateway brings only its price, unless the model has no entry for all.
    """
    shared = {entry.model.key for entry in entries if entry.gateway == DEFAULT_GATEWAY}
    models: dict[tuple[object, ...], Model] = {}
    warmth: dict[tuple[int, str], bool] = {}
    rates: dict[RateKey, Rate] = {}
    problems: list[str] = []
    for entry in entries:
        model = entry.model
        if entry.rate is not None:
            key = (entry.gateway, *model.key)
            if rates.setdefault(key, entry.rate) != entry.rate:
                problems.append(f"{entry.where}: {model.name} has another price already")
        if entry.gateway != DEFAULT_GATEWAY:
            if model.key in shared:
                continue
            shared.add(model.key)
        if warmth.setdefault(model.key, model.warm) != model.warm:
            problems.append(f"{entry.where}: {model.name} is both warm and not")
        place = (*model.key, model.executor, model.url)
        first = models.get(place)
        if first is not None and evolve(first, capacity=1) != evolve(model, capacity=1):
            problems.append(f"{entry.where}: {model.name} is there twice, and not the same")
        models[place] = (
            model if first is None else evolve(first, capacity=first.capacity + model.capacity)
        )
    return list(models.values()), rates, problems


def read_ai_models(text: str) -> list[Entry]:
    """Read the value of go-livepeer's ``-aiModels``: a file's path, or the list itself.

    Raises:
        AiModelsError: with everything that is wrong.
    """
    if not text:
        return []
    path = existing_file(text)
    return read_inline(text) if path is None else read_file(path)


def existing_file(text: str) -> Path | None:
    """Return the path if the text names a file that exists."""
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # no name of any file
        return None


def read_inline(text: str) -> list[Entry]:
    """Read ``pipeline:model_id:warm`` items, separated by commas.

    Raises:
        AiModelsError: with everything that is wrong.
    """
    if ":" not in text:
        raise AiModelsError([f"there is no file {text[:200]!r}, and it is no list: {EXPECTED}"])
    entries: list[Entry] = []
    problems: list[str] = []
    for index, item in enumerate(text.split(",")):
        parts = item.split(":")
        where = f"item {index + 1}"
        if len(parts) < 3:
            problems.append(EXPECTED)
        elif parts[0] not in BY_NAME:
            problems.append(f"{where}: unknown pipeline {parts[0][:60]!r}")
        elif parts[2] not in TRUE | FALSE:
            problems.append(f"{where}: warm must be true or false, not {parts[2][:60]!r}")
        else:
            model = Model(BY_NAME[parts[0]], parts[1], warm=parts[2] in TRUE)
            entries.append(Entry(model, where=f"plugins.ai.ai_models: {where}"))
    if problems:
        raise AiModelsError(list(dict.fromkeys(problems)))
    return entries


def read_file(path: Path) -> list[Entry]:
    """Read the JSON file form; numbers are exact.

    Raises:
        AiModelsError: with everything that is wrong.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise AiModelsError([f"{path}: larger than {MAX_FILE_BYTES} bytes"])
        items = json.loads(raw, parse_float=Decimal, parse_constant=_no_constant)
    except OSError as error:
        raise AiModelsError([f"cannot read {path}: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, AiModelsError):
            raise
        raise AiModelsError([f"{path}: no JSON: {error}"]) from error
    if not isinstance(items, list):
        raise AiModelsError([f"{path}: must be a list of models"])
    entries: list[Entry] = []
    problems: list[str] = []
    for index, item in enumerate(items):
        reader = _Item(item if isinstance(item, dict) else {}, f"[{index}]")
        if not isinstance(item, dict):
            reader.problems.append(f"[{index}]: must be an object")
        else:
            entries += reader.entry()
        problems += reader.problems
    if problems:
        raise AiModelsError(problems)
    return entries


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no number")


class _Item:
    """Reads one entry of the file; keeps what is wrong."""

    def __init__(self, item: Mapping[str, Any], where: str) -> None:
        self.item = item
        self.where = where
        self.problems: list[str] = []

    def entry(self) -> list[Entry]:
        """Return the entry; empty when something is wrong."""
        pipeline = self._get("pipeline", str, "")
        url = self._get("url", str, "")
        token = self._get("token", str, "")
        capacity = self._get("capacity", int, 0)
        gateway = self._gateway()
        rate = self._rate()
        flags = self._flags()
        warm = self._get("warm", bool, False)
        name = self._get("model_id", str, "")
        if pipeline not in BY_NAME:
            self._wrong("pipeline", f"unknown: {pipeline[:60]!r}")
        if not name:
            self._wrong("model_id", "is missing")
        if capacity < 0:
            self._wrong("capacity", "must be >= 0")
        if self.problems:
            return []
        model = Model(
            pipeline=BY_NAME[pipeline],
            name=name,
            executor="external" if url else "docker",
            warm=warm,
            capacity=max(1, capacity),
            url=url,
            token=Secret(token) if token else None,
            environment=flags,
        )
        return [Entry(model, rate, gateway, f"plugins.ai.ai_models: {self.where}")]

    def _wrong(self, key: str, text: str) -> None:
        self.problems.append(f"{self.where}.{key}: {text}")

    def _get(self, key: str, kind: type[Any], default: Any) -> Any:
        value = self.item.get(key)
        if value is None:
            return default
        if type(value) is not kind:
            names = {str: "a text", int: "a whole number", bool: "true or false", dict: "an object"}
            self._wrong(key, f"must be {names[kind]}")
            return default
        return value

    def _gateway(self) -> str:
        gateway: str = self._get("gateway", str, "") or DEFAULT_GATEWAY
        if gateway != DEFAULT_GATEWAY and not _ADDRESS.fullmatch(gateway):
            self._wrong("gateway", "must be an address, or default")
        elif gateway != DEFAULT_GATEWAY:
            gateway = "0x" + gateway.lower().removeprefix("0x")
        return gateway

    def _flags(self) -> dict[str, str]:
        flags = self._get("optimization_flags", dict, {})
        if not all(isinstance(value, str | bool) for value in flags.values()):
            self._wrong("optimization_flags", "values must be texts, true or false")
            return {}
        return _environment(flags)

    def _rate(self) -> Rate | None:
        amount = self._number("price_per_unit")
        per = self._number("pixels_per_unit")
        currency = self._get("currency", str, "") or "wei"
        if per is not None and (per.denominator != 1 or per <= 0):
            self._wrong("pixels_per_unit", "must be a positive whole number")
        if amount is not None and amount < 0:
            self._wrong("price_per_unit", "must be >= 0")
        if amount is None or self.problems:
            return None
        return Rate(amount, int(per or 1), currency.lower())

    def _number(self, key: str) -> Fraction | None:
        """Read a JSON number exactly; the reference refuses quoted ones with this text."""
        value = self.item.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self._wrong(key, "value is not a number")
            return None
        try:
            if isinstance(value, Decimal) and abs(value.adjusted()) > MAX_EXPONENT:
                raise InvalidOperation
            return Fraction(value)
        except (InvalidOperation, OverflowError, ValueError):
            self._wrong(key, "value is out of range")
            return None
