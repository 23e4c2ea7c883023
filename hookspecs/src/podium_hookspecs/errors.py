"""The errors that plugins raise and the host understands.

``PluginError``
 ├── ``BadInput``          the client's fault: never retried, the worker is kept
 │    └── ``Unsupported``  well-formed, but this pipeline does not do it
 ├── ``Busy``              no room now; the same job may succeed elsewhere or later
 ├── ``JobFailed``         the work failed for a reason of its own
 │    ├── ``JobTimeout``   it took longer than the job's deadline
 │    └── ``WorkerLost``   the worker died under the job: another worker may take it
 ├── ``BudgetExhausted``   the sender's balance does not cover more work
 └── ``ConfigError``       the plugin's configuration cannot work

Each error has a stable ``code`` for logs and metrics, and a ``public`` text
that may be shown to the peer verbatim. Peers match some texts as whole
strings, so a pipeline sets ``public`` exactly as its protocol says.
"""

from __future__ import annotations

from typing import ClassVar


class PluginError(Exception):
    """Base of every error a plugin raises on purpose.

    Args:
        message: For the operator: what happened, to what, and what to do.
        public: For the peer; without it the peer sees ``message``.
    """

    code: ClassVar[str] = "plugin_error"

    def __init__(self, message: str, *, public: str | None = None) -> None:
        super().__init__(message)
        self.public = message if public is None else public


class BadInput(PluginError):
    """The request or its body cannot be worked on; trying again changes nothing."""

    code = "bad_input"


class Unsupported(BadInput):
    """A well-formed request for something this pipeline or worker does not do."""

    code = "unsupported"


class Busy(PluginError):
    """There is no free slot now."""

    code = "busy"


class JobFailed(PluginError):
    """The work failed; the input may be good."""

    code = "job_failed"


class JobTimeout(JobFailed):
    """The work took longer than the job allows."""

    code = "job_timeout"


class WorkerLost(JobFailed):
    """The worker that ran the job is gone; the host may give the job to another."""

    code = "worker_lost"


class BudgetExhausted(PluginError):
    """The sender's balance does not cover the next unit of work."""

    code = "budget_exhausted"


class ConfigError(PluginError):
    """The plugin cannot work with its configuration."""

    code = "config_error"
