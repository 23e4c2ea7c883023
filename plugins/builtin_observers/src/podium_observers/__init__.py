"""Plugins that tell others: who wants in, and what happens.

What carries events to a message bus of your own is here too: write a ``Sink``, and let
``start_pump`` feed it.
"""

from podium_observers.pump import Pump, PumpSettings, start_pump
from podium_observers.record import Record
from podium_observers.sink import Sink, SinkError

__all__ = ["Pump", "PumpSettings", "Record", "Sink", "SinkError", "start_pump"]
