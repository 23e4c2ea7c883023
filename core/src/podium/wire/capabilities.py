"""Capability sets: their wire form and the compatibility rule (wire-video 8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from podium.errors import WireError
from podium.model import Capabilities, ModelConstraint
from podium.wire.pb import lp_rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORD_BITS = 64
MAX_WORDS = 4
"""Words that are read of a peer's bitstring; a longer one never fits ours anyway."""

MAX_CONSTRAINTS = 1000
"""Models and counts that are read of a peer's set."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[-+].*)?", re.ASCII)


def bits_to_words(bits: Iterable[int]) -> list[int]:
    """Bit n lives in word n div 64; words are added only as far as needed."""
    words: list[int] = []
    for bit in bits:
        index, offset = divmod(bit, WORD_BITS)
        words.extend([0] * (index + 1 - len(words)))
        words[index] |= 1 << offset
    return words


def words_to_bits(words: Iterable[int]) -> frozenset[int]:
    """Invert ``bits_to_words``."""
    return frozenset(
        index * WORD_BITS + offset
        for index, word in enumerate(words)
        for offset in range(word.bit_length())
        if word >> offset & 1
    )


def from_pb(message: pb.Capabilities) -> Capabilities:
    """Read a peer's set.

    Raises:
        WireError: it names more models or counts than any node has.
    """
    per_capability = message.constraints.PerCapability
    named = len(message.capacities) + len(per_capability)
    if named > MAX_CONSTRAINTS or (
        sum(len(entry.models) for entry in per_capability.values()) > MAX_CONSTRAINTS
    ):
        raise WireError("too many constraints")
    words = message.bitstring[: MAX_WORDS + 1]
    return Capabilities(
        bits=words_to_bits(words),
        words=len(words),
        mandatories=words_to_bits(message.mandatories[:MAX_WORDS]),
        capacities=dict(message.capacities),
        version=message.version,
        min_version=message.constraints.minVersion,
        models={
            number: {name: _constraint(entry) for name, entry in constraints.models.items()}
            for number, constraints in per_capability.items()
        },
    )


def _constraint(entry: pb.Capabilities.CapabilityConstraints.ModelConstraint) -> ModelConstraint:
    return ModelConstraint(
        warm=entry.warm,
        capacity=entry.capacity,
        runner_version=entry.runnerVersion,
        capacity_in_use=entry.capacityInUse,
    )


def to_pb(capabilities: Capabilities) -> pb.Capabilities:
    """Write our set; ``constraints`` is always present, as the reference sends it."""
    message = pb.Capabilities(
        bitstring=bits_to_words(sorted(capabilities.bits)),
        mandatories=bits_to_words(sorted(capabilities.mandatories)),
        capacities=dict(capabilities.capacities),
        version=capabilities.version,
    )
    message.constraints.SetInParent()
    message.constraints.minVersion = capabilities.min_version
    for number, models in capabilities.models.items():
        for name, model in models.items():
            entry = message.constraints.PerCapability[number].models[name]
            entry.warm = model.warm
            entry.capacity = model.capacity
            entry.runnerVersion = model.runner_version
            entry.capacityInUse = model.capacity_in_use
    return message


def version_at_least(version: str, minimum: str) -> bool:
    """Whether a version meets a minimum, pre-release suffixes ignored.

    An empty or unreadable minimum is met by all; an unreadable version meets no other.
    """
    wanted = _VERSION.fullmatch(minimum)
    if wanted is None:
        return True
    have = _VERSION.fullmatch(version)
    if have is None:
        # The reference refuses an empty or undefined version whenever a minimum is set.
        return False
    return tuple(map(int, have.groups())) >= tuple(map(int, wanted.groups()))


def serves(ours: Capabilities, wanted: Capabilities) -> bool:
    """Whether a node with ``ours`` may take a job that wants ``wanted`` (wire-video 8.5)."""
    if wanted.min_version and not version_at_least(ours.version, wanted.min_version):
        return False
    if not ours.mandatories <= wanted.bits:
        return False
    if wanted.words > len(bits_to_words(ours.bits)) or not wanted.bits <= ours.bits:
        return False
    return all(
        _models_fit(ours.models[number], models)
        for number, models in wanted.models.items()
        if number in ours.models
    )


def _models_fit(ours: Mapping[str, ModelConstraint], wanted: Mapping[str, ModelConstraint]) -> bool:
    for name, want in wanted.items():
        have = ours.get(name)
        if have is None or (want.warm and not have.warm):
            return False
        if want.runner_version and not version_at_least(have.runner_version, want.runner_version):
            return False
    return True
