"""JSON-RPC over several endpoints: the healthiest is asked, the next where it fails."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from podium.chain.answers import EndpointFault, EndpointLags, is_final, require_sense
from podium.chain.blocks import head_of_block, quantity
from podium.chain.endpoint import MAX_ANSWER_BYTES, Endpoint
from podium.chain.health import EndpointStatus, Health, Seen
from podium.crypto import keccak256
from podium.errors import ChainError, Reverted, RpcError, RpcUnavailable, WrongChain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

logger = logging.getLogger("podium.chain")

_LATEST = ("latest", False)
_NULL_IF_UNKNOWN = {
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getTransactionByHash",
    "eth_getTransactionReceipt",
}
"""One that lags knows less than others: nothing is unknown before all were asked."""

_ASK_HEAD_AGAIN_S = 0.5
_LAG_PATIENCE_S = 3.0
_LEAST_PATIENCE_S = 0.4
_SHORTEST_PAUSE_S = 0.05
_NOTHING = object()
_REFUSALS = ("nonce_too_low", "nonce_too_high", "funds", "underpriced")


@frozen
class RpcLimits:
    """What a pool bears.

    Attributes:
        timeout_s: For one answer of one endpoint.
        deadline_s: For a call, with all its tries.
        max_answer_bytes: Of one answer.
        max_lag_blocks: An endpoint further behind the best one is not read from.
        max_lag_s: The same in seconds of block time, for chains with slow blocks.
        probe_interval_s: How often the endpoints that are not in use are looked at, while there
            are calls.
    """

    timeout_s: float = 10.0
    deadline_s: float = 20.0
    max_answer_bytes: int = MAX_ANSWER_BYTES
    max_lag_blocks: int = 40
    max_lag_s: float = 30.0
    probe_interval_s: float = 15.0


@define(eq=False)
class _Member:
    """An endpoint of the pool."""

    endpoint: Endpoint
    health: Health = field(factory=Health)
    checking: asyncio.Lock = field(factory=asyncio.Lock)
    probed_at: float = float("-inf")

    @property
    def name(self) -> str:
        return self.endpoint.name


@define
class _Try:
    """One call on its way through the endpoints."""

    method: str
    params: tuple[Any, ...]
    deadline: float
    patience: float
    tried: set[_Member] = field(factory=set)
    faults: dict[str, EndpointFault] = field(factory=dict)
    refusal: RpcError | None = None
    unknown: bool = False

    def settled(self) -> bool:
        """Return whether asking all again cannot bring more than what was answered."""
        return self.unknown or self.refusal is not None

    def waits_for_block(self) -> bool:
        """Return whether an endpoint that lives lacks a block: it may arrive any moment."""
        return any(isinstance(fault, EndpointLags) for fault in self.faults.values())


class RpcPool:
    """Asks the healthiest endpoint, and the next where it fails, until the deadline.

    An endpoint that fails is left alone for a time that doubles; one that limits our requests,
    for as long as it says. One whose head is behind the others' is not read from until it has
    caught up. One of another chain is not asked again.

    Attributes:
        calls: Requests sent so far, by method.
        chain_id: What all endpoints have to serve; None until the first has said.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int | None = None,
        limits: RpcLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.chain_id = chain_id
        self.calls: Counter[str] = Counter()
        self._limits = limits or RpcLimits()
        self._clock = clock
        self._jitter = jitter
        size = self._limits.max_answer_bytes
        self._members = [_Member(Endpoint(url, max_answer_bytes=size)) for url in urls]
        self._background: set[asyncio.Task[Any]] = set()

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """Return the result of a method from a healthy endpoint; see :class:`ports.Rpc`.

        A block or a transaction that no endpoint knows is None.

        Raises:
            RpcUnavailable: no endpoint gave a usable answer in time.
            RpcError: an error that another endpoint would repeat, or that all gave.
            Reverted: a contract refuses.
            WrongChain: every endpoint serves another chain.
        """
        now = self._clock()
        deadline = now + (self._limits.deadline_s if timeout_s is None else timeout_s)
        attempt = _Try(method, params, deadline, min(deadline, now + _LAG_PATIENCE_S))
        self._look_at_the_others()
        while True:
            ready = self._ready(attempt.tried)
            if not ready:
                if attempt.settled():
                    return _settle(attempt)
                await self._pause(attempt)
                continue
            result = await self._try(ready[0], attempt, self._share(attempt, len(ready)))
            if result is not _NOTHING:
                return result

    async def ask_each(
        self, method: str, *params: Any, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Return each ready endpoint's result, or the :class:`ChainError` that it gives instead.

        One that lacks a block is asked again for a moment; heads are not compared.
        """
        now = self._clock()
        limit_s = self._limits.timeout_s if timeout_s is None else timeout_s
        attempt = _Try(method, params, now + limit_s, now + min(limit_s, _LAG_PATIENCE_S))
        ready = [member for member in self._members if self._is_ready(member)]
        found = await asyncio.gather(*(self._witness(member, attempt) for member in ready))
        return {member.name: each for member, each in zip(ready, found, strict=True)}

    async def _witness(self, member: _Member, attempt: _Try) -> Any:
        while True:
            try:
                await self._in_time(self._check_chain(member, attempt.deadline), attempt.deadline)
                return await self._ask(member, attempt.method, attempt.params, attempt.deadline)
            except EndpointLags as fault:
                if self._clock() + _ASK_HEAD_AGAIN_S >= attempt.patience:
                    return fault
            except ChainError as error:
                return error
            await asyncio.sleep(_ASK_HEAD_AGAIN_S)

    async def broadcast(self, raw: bytes) -> bytes:
        """Send a signed transaction through every healthy endpoint; see :class:`ports.Rpc`.

        Returns as soon as one has taken it; the others get it all the same.

        Raises:
            RpcUnavailable: none took it; it may be on its way nevertheless.
            RpcError: all that answered refused it; ``kind`` says why.
            WrongChain: every endpoint serves another chain.
        """
        tx_hash = keccak256(raw)
        attempt = _Try("eth_sendRawTransaction", ("0x" + raw.hex(),), 0.0, 0.0)
        attempt.deadline = attempt.patience = self._clock() + self._limits.deadline_s
        while True:
            ready = [member for member in self._members if self._is_ready(member)]
            sent = [self._in_background(self._submit(member, attempt)) for member in ready]
            refusals = []
            for answer in asyncio.as_completed(sent):
                refusal = await answer
                if refusal is None:
                    return tx_hash
                if isinstance(refusal, ChainError) and not isinstance(refusal, EndpointFault):
                    refusals.append(refusal)
            if refusals:
                raise self._refusal(refusals, attempt)
            await self._pause(attempt)

    def _refusal(self, refusals: Sequence[ChainError], attempt: _Try) -> ChainError:
        """Return why a transaction is refused.

        Where an answer was lost, a nonce that is used may be used by this very transaction.
        """
        found = min(refusals, key=_rank)
        unclear = any(fault.unclear for fault in attempt.faults.values())
        if unclear and isinstance(found, RpcError) and found.kind == "nonce_too_low":
            return RpcUnavailable(self._why(attempt))
        return found

    async def probe(self) -> None:
        """Look at every endpoint's chain and head, those in back-off too; never raises."""
        await asyncio.gather(*(self._probe(member) for member in self._members))

    def status(self) -> list[EndpointStatus]:
        """Return how each endpoint does, in the configured order."""
        now = self._clock()
        return [
            EndpointStatus(
                name=member.name,
                ok=self._is_ready(member) and not self._lags(member) and not member.health.failures,
                head=member.health.seen.number if member.health.seen else None,
                lag_blocks=member.health.lag_blocks,
                latency_s=member.health.latency_s,
                failures=member.health.failures,
                retry_in_s=max(0.0, member.health.ready_at - now),
                last_error=member.health.excluded or member.health.last_error,
            )
            for member in self._members
        ]

    async def aclose(self) -> None:
        """End what is under way and close all connections."""
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(member.endpoint.close() for member in self._members))

    # Which endpoint

    def _is_ready(self, member: _Member) -> bool:
        return not member.health.excluded and member.health.ready_at <= self._clock()

    def _lags(self, member: _Member) -> bool:
        health = member.health
        return (
            health.lag_blocks > self._limits.max_lag_blocks or health.lag_s > self._limits.max_lag_s
        )

    def _ready(self, tried: set[_Member]) -> list[_Member]:
        """Return the endpoints that were not tried and are ready, the healthiest first.

        Those that are about as fast as each other keep their configured order.
        """
        ready = [m for m in self._members if m not in tried and self._is_ready(m)]
        return sorted(
            ready, key=lambda m: (self._lags(m), m.health.failures, m.health.latency_class())
        )

    def _share(self, attempt: _Try, endpoints: int) -> float:
        """Return until when the first of some endpoints may take, so that the others get a turn.

        Raises:
            RpcUnavailable: the time is over.
        """
        now = self._clock()
        left = attempt.deadline - now
        if left <= 0:
            raise RpcUnavailable(self._why(attempt))
        return now + left / endpoints

    async def _pause(self, attempt: _Try) -> None:
        """Wait until an endpoint may be asked again.

        Raises:
            RpcUnavailable: that is too late.
            WrongChain: there is none.
        """
        usable = [member for member in self._members if not member.health.excluded]
        if not usable:
            raise _nobody([member.health.excluded for member in self._members])
        now = self._clock()
        ready_at = max(now + _SHORTEST_PAUSE_S, min(m.health.ready_at for m in usable))
        if attempt.waits_for_block():
            ready_at = max(ready_at, now + _ASK_HEAD_AGAIN_S)
        if ready_at >= (attempt.patience if attempt.waits_for_block() else attempt.deadline):
            raise RpcUnavailable(self._why(attempt))
        await asyncio.sleep(ready_at - now)
        attempt.tried.clear()

    def _why(self, attempt: _Try) -> str:
        reasons = []
        for member in self._members:
            fault = attempt.faults.get(member.name)
            reason = member.health.excluded or (str(fault) if fault else member.health.last_error)
            reasons.append(f"{member.name}: {reason or 'not tried'}")
        return f"no endpoint answered {attempt.method} ({'; '.join(reasons)})"

    # One endpoint

    async def _try(self, member: _Member, attempt: _Try, until: float) -> Any:
        """Return an endpoint's result, or nothing where another has to be asked."""
        attempt.tried.add(member)
        try:
            result = await self._read(member, attempt, until)
        except EndpointFault as fault:
            attempt.faults[member.name] = fault
            return _NOTHING
        except RpcError as error:
            if is_final(error):
                raise
            attempt.refusal = attempt.refusal or error
            return _NOTHING
        if result is None and attempt.method in _NULL_IF_UNKNOWN:
            attempt.unknown = True
            return _NOTHING
        return result

    async def _read(self, member: _Member, attempt: _Try, until: float) -> Any:
        """Ask one endpoint, unless what it knows is too old."""
        method, params = attempt.method, attempt.params
        await self._in_time(self._check_chain(member, until), until)
        needed = _needed_block(method, params)
        if (self._lags(member) or self._has_not(member, needed)) and params != _LATEST:
            await self._in_time(self._see_head(member, until), until)
            self._refuse_stale(member)
            if self._has_not(member, needed):
                raise self._lagging(member, f"does not have block {needed} yet")
        result = await self._ask(member, method, params, until)
        self._observe(member, method, params, result)
        self._refuse_stale(member)
        return result

    async def _in_time(self, work: Awaitable[None], until: float) -> None:
        """Wait for something that others may be waiting for too, each as long as it can."""
        try:
            async with asyncio.timeout(max(0.0, until - self._clock())):
                await work
        except TimeoutError:
            raise EndpointFault("no answer in time") from None

    def _refuse_stale(self, member: _Member) -> None:
        if self._lags(member):
            raise self._lagging(member, f"is {member.health.lag_blocks} blocks behind")

    def _has_not(self, member: _Member, needed: int | None) -> bool:
        seen = member.health.seen
        return needed is not None and (seen is None or seen.number < needed)

    def _lagging(self, member: _Member, reason: str) -> EndpointLags:
        member.health.lagged(reason)
        return EndpointLags(reason)

    async def _ask(
        self, member: _Member, method: str, params: tuple[Any, ...], deadline: float
    ) -> Any:
        """Ask one endpoint and count how it does."""
        started = self._clock()
        timeout_s = min(self._limits.timeout_s, max(0.001, deadline - started))
        self.calls[method] += 1
        try:
            result = await member.endpoint.post(method, params, timeout_s)
            require_sense(method, result, self.chain_id)
        except EndpointLags as fault:
            member.health.lagged(str(fault))
            raise
        except EndpointFault as fault:
            now = self._clock()
            # A caller in a hurry is no fault of the endpoint's.
            if timeout_s >= min(_LEAST_PATIENCE_S, self._limits.timeout_s) or (
                now - started < timeout_s
            ):
                self._failed(member, fault, started)
            raise
        except (RpcError, Reverted):
            self._succeeded(member, started)
            raise
        self._succeeded(member, started)
        return result

    def _succeeded(self, member: _Member, started: float) -> None:
        before = member.health.failures
        member.health.succeeded(started, self._clock())
        if before and not member.health.failures:
            logger.info("RPC endpoint %s answers again", member.name)

    def _failed(self, member: _Member, fault: EndpointFault, started: float) -> None:
        health = member.health
        if not health.failures:
            logger.warning("RPC endpoint %s: %s", member.name, fault)
        health.failed(str(fault), started, self._clock(), self._jitter(), fault.retry_after_s)

    async def _check_chain(self, member: _Member, deadline: float) -> None:
        """Ask an endpoint for its chain, once."""
        if member.health.chain_checked:
            return
        async with member.checking:
            if not member.health.chain_checked and not member.health.excluded:
                if not self._is_ready(member):  # it failed while we waited for our turn
                    raise EndpointFault(member.health.last_error)
                answer = await self._ask(member, "eth_chainId", (), deadline)
                self._compare_chain(member, _number_of(answer))
        if member.health.excluded:
            raise EndpointFault(member.health.excluded)

    def _compare_chain(self, member: _Member, found: int) -> None:
        if self.chain_id is None:
            self.chain_id = found
        if found == self.chain_id:
            member.health.chain_checked = True
            return
        member.health.excluded = f"serves chain {found}, not {self.chain_id}"
        logger.error("RPC endpoint %s %s: not used", member.name, member.health.excluded)

    async def _submit(self, member: _Member, attempt: _Try) -> ChainError | None:
        """Give a transaction to one endpoint; return what it has against it."""
        try:
            await self._check_chain(member, attempt.deadline)
            await self._ask(member, attempt.method, attempt.params, attempt.deadline)
        except RpcError as error:
            return None if error.kind == "already_known" else error
        except ChainError as error:
            if isinstance(error, EndpointFault):
                attempt.faults[member.name] = error
            return error
        return None

    # Heads

    def _observe(self, member: _Member, method: str, params: tuple[Any, ...], result: Any) -> None:
        """Note an endpoint's head where an answer shows it."""
        number, timestamp = 0, 0
        if method == "eth_getBlockByNumber" and params == _LATEST:
            try:
                head = head_of_block(result)
            except ChainError as error:
                raise EndpointFault(str(error)) from None
            number, timestamp = head.number, head.timestamp
        elif method == "eth_blockNumber":
            number = _number_of(result)
        else:
            return
        others = [m.health.seen for m in self._members if m is not member and _counts(m)]
        member.health.saw(Seen(number, timestamp, self._clock()), others)

    async def _see_head(self, member: _Member, deadline: float) -> None:
        """Look at an endpoint's newest block, unless that was just done."""
        async with member.checking:
            seen = member.health.seen
            if seen is not None and self._clock() - seen.at < _ASK_HEAD_AGAIN_S:
                return
            result = await self._ask(member, "eth_getBlockByNumber", _LATEST, deadline)
            self._observe(member, "eth_getBlockByNumber", _LATEST, result)

    def _look_at_the_others(self) -> None:
        """Probe, beside the calls, the endpoints that have not been looked at for a while."""
        now = self._clock()
        for member in self._members:
            due = now - member.probed_at >= self._limits.probe_interval_s
            if len(self._members) > 1 and due and self._is_ready(member):
                member.probed_at = now
                self._in_background(self._probe(member))

    async def _probe(self, member: _Member) -> None:
        member.probed_at = now = self._clock()
        deadline = now + self._limits.timeout_s
        try:
            await self._check_chain(member, deadline)
            result = await self._ask(member, "eth_getBlockByNumber", _LATEST, deadline)
            self._observe(member, "eth_getBlockByNumber", _LATEST, result)
        except ChainError as error:
            logger.debug("RPC endpoint %s: %s", member.name, error)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _settle(attempt: _Try) -> None:
    """Return None for a block that nobody knows; raise what the endpoints agreed on."""
    if attempt.refusal is not None and not attempt.unknown:
        raise attempt.refusal


def _number_of(answer: Any) -> int:
    try:
        return quantity(answer)
    except ChainError as error:
        raise EndpointFault(str(error)) from None


def _needed_block(method: str, params: tuple[Any, ...]) -> int | None:
    """Return the block that an endpoint must have.

    For logs only: an endpoint that lags answers with those it has, and nothing shows that the
    rest is missing. Other methods fail then.
    """
    if method != "eth_getLogs" or not params or not isinstance(params[0], dict):
        return None
    last = params[0].get("toBlock")
    return int(last, 16) if isinstance(last, str) and last.startswith("0x") else None


def _counts(member: _Member) -> bool:
    """Return whether an endpoint's head says anything about the others'."""
    return not member.health.excluded and member.health.chain_checked


def _rank(error: ChainError) -> int:
    """Order refusals of a transaction, the most telling first."""
    kind = error.kind if isinstance(error, RpcError) else ""
    return _REFUSALS.index(kind) if kind in _REFUSALS else len(_REFUSALS)


def _nobody(excluded: Iterable[str]) -> ChainError:
    reasons = sorted(set(excluded))
    if not reasons:
        return RpcUnavailable("there is no RPC endpoint: set chain.rpc_urls")
    return WrongChain(
        f"every RPC endpoint {' and '.join(reasons)}: check chain.network and chain.rpc_urls"
    )
