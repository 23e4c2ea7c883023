"""The contract between the Podium orchestrator and its plugins.

A plugin is a module with functions marked ``@hookimpl``, named in the entry
point group ``podium``. Everything public is exported here.
"""

from podium_hookspecs.admission import Admission, AdmitRequest, PendingAdmission
from podium_hookspecs.context import Log, Metrics, PluginContext
from podium_hookspecs.errors import (
    BadInput,
    BudgetExhausted,
    Busy,
    ConfigError,
    JobFailed,
    JobTimeout,
    PluginError,
    Unsupported,
    WorkerLost,
)
from podium_hookspecs.events import (
    Event,
    JobBodyRead,
    JobFinished,
    JobReceived,
    NodeStarted,
    NodeStopping,
    PaymentReceived,
    PaymentRefused,
    PluginChanged,
    PriceQuoted,
    RedemptionFailed,
    RewardCalled,
    RewardFailed,
    RoundStarted,
    SessionClosed,
    SessionOpened,
    TicketParamsIssued,
    TicketRedeemed,
    TransactionEnded,
    WorkerChanged,
)
from podium_hookspecs.http import HttpPipeline, HttpRequest
from podium_hookspecs.job import Body, Chunk, Job, Meter, Output, Result
from podium_hookspecs.money import Price, PriceRequest, Units
from podium_hookspecs.pipeline import CAPABILITY_NUMBERS, Offer, Pipeline, Requirements
from podium_hookspecs.routes import AsgiApp, Mount
from podium_hookspecs.seconds import by_the_second
from podium_hookspecs.secret import Secret
from podium_hookspecs.specs import hookimpl, hookspec
from podium_hookspecs.video import (
    GOP_INTRA,
    Clip,
    Codec,
    Container,
    H264Profile,
    Profile,
    Rendition,
    TranscodeRequest,
)
from podium_hookspecs.worker import Device, Hardware, Health, Resources, Worker, WorkerState

API_VERSION = "1.2"
"""The hooks' own version: ``major.minor`` of the distribution ``podium-hookspecs``."""

__all__ = [
    "API_VERSION",
    "CAPABILITY_NUMBERS",
    "GOP_INTRA",
    "Admission",
    "AdmitRequest",
    "AsgiApp",
    "BadInput",
    "Body",
    "BudgetExhausted",
    "Busy",
    "Chunk",
    "Clip",
    "Codec",
    "ConfigError",
    "Container",
    "Device",
    "Event",
    "H264Profile",
    "Hardware",
    "Health",
    "HttpPipeline",
    "HttpRequest",
    "Job",
    "JobBodyRead",
    "JobFailed",
    "JobFinished",
    "JobReceived",
    "JobTimeout",
    "Log",
    "Meter",
    "Metrics",
    "Mount",
    "NodeStarted",
    "NodeStopping",
    "Offer",
    "Output",
    "PaymentReceived",
    "PaymentRefused",
    "PendingAdmission",
    "Pipeline",
    "PluginChanged",
    "PluginContext",
    "PluginError",
    "Price",
    "PriceQuoted",
    "PriceRequest",
    "Profile",
    "RedemptionFailed",
    "Rendition",
    "Requirements",
    "Resources",
    "Result",
    "RewardCalled",
    "RewardFailed",
    "RoundStarted",
    "Secret",
    "SessionClosed",
    "SessionOpened",
    "TicketParamsIssued",
    "TicketRedeemed",
    "TransactionEnded",
    "TranscodeRequest",
    "Units",
    "Unsupported",
    "Worker",
    "WorkerChanged",
    "WorkerLost",
    "WorkerState",
    "by_the_second",
    "hookimpl",
    "hookspec",
]
