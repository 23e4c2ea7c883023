"""What every pipeline is to the HTTP face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import define

from podium_runner_cpu.settings import Settings

if TYPE_CHECKING:
    from podium_runner_cpu.fields import Field, Values

Encoding = Literal["json", "form"]


@define
class Pipeline(ABC):
    """One kind of work with one model.

    Every method but `check` is called on the model's own thread, one at a time.

    Attributes:
        settings: the process's.
        name: the route, and the name in the environment.
        title: how error texts call it.
        encoding: of the request's body.
        fields: what a request holds.
        model_field: the field that names the model.
        oom_text: the reply when memory runs out.
        unauthorized_text: the reply to a wrong bearer token.
        refusal_status: of the reply to a ``ValueError``, by which models' libraries refuse.
        checks_first: `check` runs before the bearer token is looked at.
    """

    settings: Settings

    name: ClassVar[str]
    title: ClassVar[str]
    encoding: ClassVar[Encoding] = "form"
    fields: ClassVar[tuple[Field, ...]]
    model_field: ClassVar[str] = "model_id"
    oom_text: ClassVar[str] = "Out of memory error. Try reducing input image resolution."
    unauthorized_text: ClassVar[str] = "Invalid bearer token."
    refusal_status: ClassVar[int] = 400
    checks_first: ClassVar[bool] = False

    @property
    def error_text(self) -> str:
        """The reply when the model fails for a reason nobody foresaw."""
        return f"{self.title} pipeline error."

    @abstractmethod
    def load(self) -> None:
        """Load the model. Blocks.

        Raises:
            ModelUnavailable: its files or packages are missing.
        """

    def check(self, values: Values) -> None:  # noqa: B027 - most pipelines check nothing here
        """Refuse values that the model should not see. Does not block.

        Raises:
            RunnerError: what is wrong.
        """

    @abstractmethod
    def run(self, values: Values) -> dict[str, object]:
        """Do the work. Blocks.

        Returns:
            The reply's JSON object.

        Raises:
            RunnerError: what is wrong with the request.
        """

    def close(self) -> None:  # noqa: B027 - most pipelines hold nothing but memory
        """End what runs outside this process. Called from another thread, at any time."""
