"""The process's settings, from the environment alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, min_len

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUE = {"1", "true", "yes", "on"}


class SettingsError(Exception):
    """The environment does not describe a runner.

    Attributes:
        code: stable, for logs.
    """

    code = "settings"


@frozen
class Limits:
    """What one request may ask for.

    Attributes:
        file_bytes: one uploaded file.
        json_bytes: one JSON body.
        body_s: seconds in which a body must arrive.
        pixels: of an uploaded picture, checked before it is decoded.
        audio_s: seconds of uploaded sound.
        text_chars: characters to speak.
        speech_s: seconds of spoken sound.
        side: pixels of a made picture's longer side.
        steps: of a diffusion model.
        images: made by one request.
        tokens: prompt and completion of a language model together.
        waiting: requests that may wait or run; more are refused.
    """

    file_bytes: int = field(default=50 * 1024 * 1024, validator=gt(0))
    json_bytes: int = field(default=4 * 1024 * 1024, validator=gt(0))
    body_s: float = field(default=60.0, validator=gt(0))
    pixels: int = field(default=40_000_000, validator=gt(0))
    audio_s: float = field(default=3600.0, validator=gt(0))
    text_chars: int = field(default=10_000, validator=gt(0))
    speech_s: float = field(default=900.0, validator=gt(0))
    side: int = field(default=2048, validator=gt(0))
    steps: int = field(default=200, validator=gt(0))
    images: int = field(default=10, validator=gt(0))
    tokens: int = field(default=8192, validator=gt(0))
    waiting: int = field(default=4, validator=gt(0))


@frozen
class Settings:
    """One pipeline, one model, one address.

    Attributes:
        pipeline: its name, such as ``image-to-text``.
        model_id: the name that requests call the model by.
        host: the address to listen on.
        port: 0 lets the system choose; the log says which.
        auth_token: the bearer token that pipeline routes ask for; empty asks for none.
        model_dir: where model files lie, in the layout of the Hugging Face cache.
        engine: overrides the engine that the model's name selects; empty does not.
        version: what ``/version`` says.
        load_first: open the socket only when the model is loaded.
        verbose: log more.
        limits: what one request may ask for.
    """

    pipeline: str = field(validator=min_len(1))
    model_id: str = field(validator=min_len(1))
    host: str = "0.0.0.0"
    port: int = field(default=8000, validator=and_(ge(0), le(65535)))
    auth_token: str = field(default="", repr=False)
    model_dir: Path = Path("/models")
    engine: str = ""
    version: str = "undefined"
    load_first: bool = False
    verbose: bool = False
    limits: Limits = Limits()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: a variable is missing or malformed; the text names it.
        """
        try:
            return cls(
                pipeline=environ.get("PIPELINE", ""),
                model_id=environ.get("MODEL_ID", ""),
                host=environ.get("HOST", "0.0.0.0"),
                port=int(environ.get("PORT", "8000")),
                auth_token=environ.get("AUTH_TOKEN", ""),
                model_dir=Path(environ.get("MODEL_DIR", "/models")),
                engine=environ.get("MODEL_ENGINE", ""),
                version=environ.get("VERSION") or "undefined",
                load_first=_flag(environ, "LOAD_FIRST"),
                verbose=_flag(environ, "VERBOSE_LOGGING"),
                limits=_limits(environ),
            )
        except ValueError as error:
            names = "PIPELINE and MODEL_ID are required; PORT and MAX_* are numbers"
            raise SettingsError(f"{names}: {error}") from error


def _flag(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in TRUE


def _limits(environ: Mapping[str, str]) -> Limits:
    default = Limits()
    return Limits(
        pixels=int(environ.get("MAX_PIXELS", default.pixels)),
        audio_s=float(environ.get("MAX_AUDIO_S", default.audio_s)),
        text_chars=int(environ.get("MAX_TEXT_CHARS", default.text_chars)),
        speech_s=float(environ.get("MAX_SPEECH_S", default.speech_s)),
        side=int(environ.get("MAX_SIDE", default.side)),
        steps=int(environ.get("MAX_STEPS", default.steps)),
        images=int(environ.get("MAX_IMAGES", default.images)),
        tokens=int(environ.get("MAX_MODEL_LEN", default.tokens)),
        waiting=int(environ.get("MAX_WAITING", default.waiting)),
        body_s=float(environ.get("MAX_BODY_S", default.body_s)),
    )
