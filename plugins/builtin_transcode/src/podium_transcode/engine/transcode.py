"""Decode once, encode every rendition in a thread of its own."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

import av
from attrs import define, field, frozen

from podium_transcode.engine.rendition import RenditionEncoder
from podium_transcode.engine.request import Summary
from podium_transcode.engine.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from av import AudioStream, Packet, VideoFrame
    from podium_hookspecs import Profile

    from podium_transcode.engine.request import Encoded, EngineJob
    from podium_transcode.engine.source import Source

    Item = VideoFrame | Packet[AudioStream] | None

QUEUE_ITEMS = 16
"""Frames and packets that wait for an encoder: enough to overlap, little enough to hold."""

MAX_ENCODER_THREADS = 16
NICE_BY_PLACE = (0, 10, 19)
"""How far a rendition gives way, by size; the smallest ones share the last place."""


def transcode(descriptor: int, job: EngineJob, emit: Callable[[int, Encoded], None]) -> Summary:
    """Transcode one segment.

    Args:
        descriptor: The whole segment; stays the caller's.
        job: What to make.
        emit: Called with a rendition's place among the profiles as soon as it is ready, from
            the rendition's own thread, one at a time.

    Returns:
        What was decoded.

    Raises:
        PluginError: with the protocol's text as ``public``.
    """
    started = time.perf_counter()
    source = open_source(descriptor, job.options)
    lock = threading.Lock()

    def emit_alone(index: int, encoded: Encoded) -> None:
        with lock:
            emit(index, encoded)

    lanes = []
    for index, plan in enumerate(plan_lanes(job.profiles, job.options.threads)):
        profile = job.profiles[index]
        encoder = RenditionEncoder(profile, source, job.clip, job.options, plan.threads)
        lanes.append(Lane(index, encoder, emit_alone, plan.nice))
    try:
        _feed(source, lanes)
    finally:
        for lane in lanes:
            lane.stop()
        source.container.close()
    for lane in lanes:
        lane.check()
    return Summary(source.frames, source.pixels, time.perf_counter() - started)


@frozen
class LanePlan:
    """How a rendition's thread runs: its encoder's threads, and how much it gives way."""

    threads: int
    nice: int


def plan_lanes(profiles: Sequence[Profile], threads: int) -> list[LanePlan]:
    """Give the largest rendition the right of way and half as many threads again.

    It takes longest and its encoder alone cannot fill the processor, so the others best run in
    the gaps it leaves; from the third on, with half the threads: fewer do the same work cheaper.

    Args:
        profiles: The job's renditions.
        threads: Threads of each encoder; at least 1.

    Returns:
        A plan for each rendition, in the order of the profiles.
    """
    order = sorted(range(len(profiles)), key=lambda i: -max(profiles[i].width, profiles[i].height))
    shares = (threads * 3 // 2, threads, max(1, threads // 2))
    last = len(shares) - 1
    plans = {
        index: LanePlan(
            min(shares[min(place, last)], MAX_ENCODER_THREADS), NICE_BY_PLACE[min(place, last)]
        )
        for place, index in enumerate(order)
    }
    return [plans[index] for index in range(len(profiles))]


def _feed(source: Source, lanes: Sequence[Lane]) -> None:
    for item in source.items():
        for lane in lanes:
            lane.put(item)
    for lane in lanes:
        lane.put(None)


@define(eq=False)
class Lane:
    """A rendition's thread, fed through a bounded queue."""

    _index: int
    _encoder: RenditionEncoder
    _emit: Callable[[int, Encoded], None]
    _nice: int = 0
    _queue: queue.Queue[Item] = field(factory=lambda: queue.Queue(QUEUE_ITEMS))
    _failure: BaseException | None = None
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"rendition-{self._index}")
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over the next item, waiting for room; a failed lane raises its failure."""
        self.check()
        self._queue.put(item)

    def check(self) -> None:
        """Raise what stopped this lane, if anything did."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread, whether it has seen the end of its items or not."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        if self._nice and sys.platform == "linux":
            # Linux keeps this per thread, and the encoder's own threads inherit it.
            nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + self._nice)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        try:
            self._work()
        except BaseException as failure:  # noqa: BLE001  crosses to the feeding thread
            self._failure = failure
            while self._queue.get() is not None:
                pass
        finally:
            self._encoder.close()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, av.VideoFrame):
                self._encoder.take_frame(item)
            else:
                self._encoder.take_audio(item)
        self._emit(self._index, self._encoder.finish())
