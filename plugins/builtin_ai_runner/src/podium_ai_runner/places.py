"""From the section to the executors: which model runs where, and under which bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from podium_ai_runner.executors.manager import Executors
from podium_ai_runner.executors.settings import ExecutorSettings, ModelEntry
from podium_ai_runner.executors.values import Hardening, Key, Limits, Timings

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext

    from podium_ai_runner.config import AiConfig, WatchConfig
    from podium_ai_runner.models import Catalog, Model
    from podium_ai_runner.worker import Call


def make_executors(
    config: AiConfig, catalog: Catalog, context: PluginContext, call: Call
) -> Executors:
    """Make the executors of all models.

    Raises:
        ConfigError: this machine has no room for them.
    """
    models_dir = config.models_dir or context.state_dir / "models"
    if config.models_dir is None:
        models_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    entries = [_entry(model) for model in catalog.models]
    return Executors.of(_settings(config, str(models_dir)), entries, context, call)


def _entry(model: Model) -> ModelEntry:
    return ModelEntry(
        key=Key(model.pipeline.name, model.name),
        capability=model.pipeline.capability,
        executor=model.executor,
        warm=model.warm,
        capacity=model.capacity,
        url=model.url.rstrip("/"),
        token=model.token,
        api=model.api,
        environment=model.environment,
        image=model.image,
        command=model.command,
    )


def _timings(watch: WatchConfig) -> Timings:
    return Timings(
        watch_s=watch.every_s,
        probe_s=watch.answer_s,
        loading_s=watch.loading_s,
        failures=watch.failures,
        retry_first_s=watch.retry_first_s,
        retry_most_s=watch.retry_most_s,
        stop_s=watch.stop_s,
    )


def _settings(config: AiConfig, models_dir: str) -> ExecutorSettings:
    containers, limits, timings = config.containers, config.limits, _timings(config.watch)
    settings = ExecutorSettings(
        models_dir=models_dir,
        gpus=config.gpus,
        runners_per_gpu=config.runners_per_gpu,
        cpu_slots=config.cpu_slots,
        command=config.process_command,
        image=config.images.get("default", ""),
        image_by_pipeline={k: v for k, v in config.images.items() if k != "default"},
        engine=containers.docker_host,
        pull=containers.pull,
        tokens=config.runner_tokens,
        verbose=config.verbose_runners,
        limits=Limits(limits.memory_mb, limits.pids, limits.cpus, limits.shm_mb),
        hardening=Hardening(
            read_only_root=containers.read_only_root,
            drop_capabilities=containers.drop_capabilities,
            no_new_privileges=containers.no_new_privileges,
            read_only_models=containers.read_only_models,
            user=containers.user,
            tmpfs=containers.tmpfs,
            network=containers.network,
        ),
        timings=timings,
        external_timings=evolve(timings, retry_most_s=min(10.0, timings.retry_most_s)),
    )
    if not config.start_timeout_s:
        return settings
    return evolve(
        settings,
        start_timeout_s=config.start_timeout_s,
        start_timeout_flags_s=config.start_timeout_s,
        start_timeout_external_s=config.start_timeout_s,
    )
