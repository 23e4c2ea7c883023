"""The section ``[plugins.ai]`` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen, validators
from podium_hookspecs import Secret

from podium_ai_runner.models import AiModelsError, existing_file, read_inline
from podium_ai_runner.pipelines.describe import BY_NAME

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
CURRENCY = re.compile(r"[A-Za-z]{2,8}")


def _pipeline(instance: object, attribute: Attribute[Any], value: str) -> None:
    del instance, attribute
    if value not in BY_NAME:
        raise ValueError(f"must be one of {', '.join(BY_NAME)}")


def _model(instance: Any, attribute: Attribute[Any], value: str) -> None:
    del instance, attribute
    if not value or len(value) > 1024 or not value.isprintable():
        raise ValueError("must be a model's name")


def _url(instance: Any, attribute: Attribute[Any], value: str) -> None:
    del attribute
    if not value:
        if instance.executor == "external":
            raise ValueError("is needed for the executor external")
        return
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if instance.executor in ("docker", "process"):
        raise ValueError(f"makes no sense with the executor {instance.executor}")


def _command(instance: Any, attribute: Attribute[Any], value: tuple[str, ...]) -> None:
    del attribute
    if value and (instance.url or instance.executor == "external"):
        raise ValueError("makes no sense with a url")


def _image(instance: Any, attribute: Attribute[Any], value: str) -> None:
    del attribute
    if value and (instance.url or instance.executor in ("process", "external")):
        raise ValueError('is for executor = "docker"')


def _api(instance: Any, attribute: Attribute[Any], value: str) -> None:
    del attribute
    if value == "openai" and (instance.pipeline != "llm" or not instance.url):
        raise ValueError("openai is for the pipeline llm, with a url")


def _price(instance: object, attribute: Attribute[Any], value: Fraction | None) -> None:
    del instance, attribute
    if value is not None and value < 0:
        raise ValueError("must be >= 0")


def _currency(instance: object, attribute: Attribute[Any], value: str) -> None:
    del instance, attribute
    if not CURRENCY.fullmatch(value):
        raise ValueError("must be wei, eth or a currency's symbol")


def _gateways(instance: object, attribute: Attribute[Any], value: Mapping[str, Fraction]) -> None:
    del instance, attribute
    for address in value:
        if not ADDRESS.fullmatch(address):
            raise ValueError(f"{address[:60]}: must be an address, 0x and 40 hexadecimal digits")


def _images(instance: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    del instance, attribute
    unknown = [name for name in value if name != "default" and name not in BY_NAME]
    if unknown:
        raise ValueError(f"{unknown[0][:60]}: must be a pipeline, or default")


def _ai_models(instance: object, attribute: Attribute[Any], value: str) -> None:
    """Check a list as go-livepeer's -aiModels has it; a file is checked when the node starts."""
    del instance, attribute
    if value and existing_file(value) is None:
        try:
            read_inline(value)
        except AiModelsError as error:
            raise ValueError("; ".join(error.problems)) from error


def _secret_free(instance: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    del instance, attribute
    for name in value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name[:60]}: is no name of an environment variable")


@frozen
class ModelConfig:
    """One model: what it is for, where it runs, what it costs."""

    pipeline: str = field(
        validator=_pipeline, metadata={"help": "The pipeline it serves: text-to-image, llm, ..."}
    )
    model: str = field(
        validator=_model,
        metadata={"help": "Its name on the network, mostly of a Hugging Face repository."},
    )
    executor: Literal["auto", "docker", "process", "external"] = field(
        default="auto",
        metadata={
            "help": "Where it runs. auto: behind its url when it has one, else in a container."
        },
    )
    warm: bool = field(
        default=False, metadata={"help": "Load it when the node starts, and keep it loaded."}
    )
    capacity: int = field(
        default=1,
        validator=validators.ge(1),
        metadata={"help": "How many of it: copies that run, or jobs at a time that its url takes."},
    )
    url: str = field(
        default="", validator=_url, metadata={"help": "Base URL of a runner that runs already."}
    )
    token: Secret | None = field(
        default=None, metadata={"help": "Sent to the url as a bearer token."}
    )
    api: Literal["runner", "openai"] = field(
        default="runner",
        validator=_api,
        metadata={
            "help": "What the url speaks. openai: /v1/chat/completions (vLLM, llama.cpp, Ollama)."
        },
    )
    upstream_model: str = field(
        default="", metadata={"help": "Its name at the url, where that is another."}
    )
    image: str = field(
        default="",
        validator=_image,
        metadata={"help": "Image of its containers, in place of the pipeline's."},
    )
    command: tuple[str, ...] = field(
        default=(),
        validator=_command,
        metadata={"help": "Command of its process, or arguments for its container."},
    )
    optimization_flags: dict[str, str | bool] = field(
        factory=dict,
        validator=_secret_free,
        metadata={"help": "Environment of its runner, such as SFAST = true."},
    )
    price: Fraction | None = field(
        default=None,
        validator=_price,
        metadata={"help": "Price of per units, exact. Without one the node's own price holds."},
    )
    per: int = field(
        default=1, validator=validators.ge(1), metadata={"help": "How many units the price is for."}
    )
    currency: str = field(
        default="wei",
        validator=_currency,
        metadata={"help": "Of the price: wei, eth, or a currency with a feed, as usd."},
    )
    gateways: dict[str, Fraction] = field(
        factory=dict,
        validator=_gateways,
        metadata={"help": "Other prices, by a gateway's address."},
    )


@frozen
class LimitsConfig:
    """Limits: what each runner that this node starts may take. 0 is no limit."""

    memory_mb: int = field(
        default=0,
        validator=validators.ge(0),
        metadata={"help": "Memory, MiB. 0: nine tenths of the machine's for a container."},
    )
    pids: int = field(
        default=4096,
        validator=validators.ge(0),
        metadata={"help": "Processes and threads of a container."},
    )
    cpus: float = field(
        default=0.0,
        validator=validators.ge(0),
        metadata={"help": "Processors' worth of time of a container."},
    )
    shm_mb: int = field(
        default=0, validator=validators.ge(0), metadata={"help": "Shared memory, MiB."}
    )


@frozen
class ContainersConfig:
    """Containers: where they run and what they may not do."""

    docker_host: str = field(
        default="",
        metadata={"help": "The Docker engine's address. Default: $DOCKER_HOST, or its socket."},
    )
    pull: bool = field(
        default=True, metadata={"help": "Pull images that are not here, from the start on."}
    )
    network: str = field(
        default="",
        metadata={"help": "The engine's network to join. One without a way out keeps models in."},
    )
    read_only_root: bool = field(
        default=True, metadata={"help": "They cannot write to their own files."}
    )
    read_only_models: bool = field(
        default=True, metadata={"help": "They cannot write to models_dir."}
    )
    drop_capabilities: bool = field(
        default=True, metadata={"help": "They have none of root's powers."}
    )
    no_new_privileges: bool = field(
        default=True, metadata={"help": "No program in them gains powers."}
    )
    user: str = field(
        default="", metadata={"help": "uid or uid:gid they run as. Default: as the image says."}
    )
    tmpfs: tuple[str, ...] = field(
        default=("/tmp",), metadata={"help": "Folders in memory that they may write to."}
    )


@frozen
class WatchConfig:
    """Watch: when runners are looked at, replaced and started again."""

    every_s: float = field(
        default=5.0, validator=validators.gt(0), metadata={"help": "From one look to the next."}
    )
    answer_s: float = field(
        default=5.0, validator=validators.gt(0), metadata={"help": "How long an answer may take."}
    )
    failures: int = field(
        default=2,
        validator=validators.ge(1),
        metadata={"help": "Bad looks in a row until a runner is replaced."},
    )
    loading_s: float = field(
        default=180.0,
        validator=validators.gt(0),
        metadata={"help": "How long one that was ready may say LOADING."},
    )
    retry_first_s: float = field(
        default=2.0,
        validator=validators.gt(0),
        metadata={"help": "From a failed start to the next; doubles with each failure."},
    )
    retry_most_s: float = field(
        default=120.0, validator=validators.gt(0), metadata={"help": "The longest such wait."}
    )
    stop_s: float = field(
        default=8.0,
        validator=validators.gt(0),
        metadata={"help": "How long a runner may take to end by itself."},
    )


@frozen
class AiConfig:
    """AI jobs: which models this node serves, where they run and what they cost."""

    models: tuple[ModelConfig, ...] = field(default=(), metadata={"help": "The models."})
    ai_models: str = field(
        default="",
        validator=_ai_models,
        metadata={"help": "Models as go-livepeer's -aiModels: pipeline:model:warm,... or a path."},
    )
    models_dir: Path | None = field(
        default=None,
        metadata={
            "help": "Folder of the models' files, in containers /models. Default: in data_dir."
        },
    )
    gpus: tuple[str, ...] = field(
        default=("auto",),
        validator=validators.min_len(1),
        metadata={
            "help": 'GPUs for runners: ["auto"]: all that there are, or the processor; '
            '["none"]: the processor; or indexes, ["0", "1"].'
        },
    )
    runners_per_gpu: int = field(
        default=1,
        validator=validators.ge(1),
        metadata={"help": "How many runners share a GPU."},
    )
    cpu_slots: int = field(
        default=0,
        validator=validators.ge(0),
        metadata={"help": "Runners at a time without a GPU. 0: what the models need."},
    )
    images: dict[str, str] = field(
        factory=dict,
        validator=_images,
        metadata={
            "help": "Images of runners, by pipeline; default is for those without one of their own."
        },
    )
    process_command: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Command of local runners. {pipeline}, {model}, {port} and {gpu} are filled in."
        },
    )
    runner_tokens: bool = field(
        default=True,
        metadata={"help": "Every runner that is started asks for a token of its own."},
    )
    verbose_runners: bool = field(default=False, metadata={"help": "Let runners log more."})
    start_timeout_s: float = field(
        default=0.0,
        validator=validators.ge(0),
        metadata={
            "help": "How long a runner may take to load its model. 0: 180 s, with optimization "
            "flags 300 s, behind a url 120 s."
        },
    )
    limits: LimitsConfig = field(
        factory=LimitsConfig, metadata={"help": "What each runner may take."}
    )
    containers: ContainersConfig = field(
        factory=ContainersConfig, metadata={"help": "How containers are run."}
    )
    watch: WatchConfig = field(factory=WatchConfig, metadata={"help": "How runners are watched."})
    queue_timeout_s: float = field(
        default=1.0,
        validator=validators.ge(0),
        metadata={"help": "How long a job waits for a free runner. 0: it is refused at once."},
    )
    run_timeout_s: float = field(
        default=600.0, validator=validators.ge(1), metadata={"help": "How long a job may take."}
    )
    idle_timeout_s: float = field(
        default=60.0,
        validator=validators.ge(1),
        metadata={"help": "How long a runner may be silent in the middle of an answer."},
    )
    max_reply_mb: int = field(
        default=256,
        validator=validators.ge(1),
        metadata={"help": "Largest answer of a runner, MiB."},
    )
    max_results_mb: int = field(
        default=2048,
        validator=validators.ge(16),
        metadata={
            "help": "Disk for results that gateways fetch, MiB; they are kept for ten minutes."
        },
    )
