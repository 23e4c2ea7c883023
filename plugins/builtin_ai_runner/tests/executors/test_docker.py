"""Runners in containers, with a real engine: their life, what they may not do, every fault."""

import asyncio
import json

import aiohttp
import pytest
from attrs import evolve
from podium_ai_runner.executors.values import Hardening, Limits
from podium_hookspecs import Busy, JobFailed, JobTimeout, WorkerLost, WorkerState


async def test_a_container_serves_jobs_and_goes_with_its_node(kit, in_docker, mine, context):
    made = await in_docker(kit.entry(executor="docker", warm=True))
    (worker,) = made.workers
    await kit.until_ok(worker)
    assert (await kit.run(worker))["model"] == "a"
    ((_, info),) = worker.loaded.items()
    assert (info.version, info.warm) == ("1.2.3", True)
    (status,) = made.status()
    assert (status.state.value, status.executor, status.warm) == ("ok", "docker", True)
    (container,) = mine()
    labels = json.loads(kit.docker("inspect", container).stdout)[0]["Config"]["Labels"]
    assert labels["creator"] == "ai-worker"
    await worker.close()
    assert mine() == []
    events = [line.event for line in context.log.lines]
    assert events == ["runner starts", "runner ready"]
    starts = context.metrics.values[
        "runner_starts_total", (("model_name", "a"), ("pipeline", "llm"))
    ]
    assert starts == 1


async def test_a_container_may_do_next_to_nothing(kit, in_docker, mine, tmp_path):
    models = tmp_path / "models"
    models.mkdir(mode=0o777)
    made = await in_docker(
        kit.entry(executor="docker", warm=True),
        models_dir=str(models),
        hardening=Hardening(user="65534:65534"),
    )
    (worker,) = made.workers
    await kit.until_ok(worker)
    facts = await _facts(worker)
    assert facts["/etc/probe"] == facts["/models/probe"] == "OSError"  # a read-only file system
    assert facts["/tmp/probe"] == "writable"
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert str(128 << 20) in (facts["memory.max"], facts["memory/memory.limit_in_bytes"])
    assert "64" in (facts["pids.max"], facts["pids/pids.max"])
    (container,) = mine()
    told = json.loads(kit.docker("inspect", container).stdout)[0]
    (binding,) = told["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    assert (await kit.run(worker))["uid"] == 65534


async def test_every_switch_can_be_turned(kit, in_docker, tmp_path):
    models = tmp_path / "models"
    models.mkdir(mode=0o777)
    open_ = Hardening(
        read_only_root=False,
        drop_capabilities=False,
        no_new_privileges=False,
        read_only_models=False,
        tmpfs=(),
    )
    made = await in_docker(
        kit.entry(executor="docker", warm=True),
        models_dir=str(models),
        hardening=open_,
        limits=Limits(),
    )
    (worker,) = made.workers
    await kit.until_ok(worker)
    facts = await _facts(worker)
    assert facts["/etc/probe"] == facts["/models/probe"] == facts["/tmp/probe"] == "writable"
    assert int(facts["CapEff"], 16) != 0
    assert facts["NoNewPrivs"] == "0"


async def _facts(worker):
    url = worker.slot.held.endpoint.url
    async with aiohttp.ClientSession() as session, session.get(f"{url}/inspect") as response:
        return await response.json()


async def test_nobody_without_the_token_is_served(kit, in_docker):
    made = await in_docker(kit.entry(executor="docker", warm=True))
    (worker,) = made.workers
    await kit.until_ok(worker)
    end = worker.slot.held.endpoint
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{end.url}/llm", data=b"echo") as response,
    ):
        assert response.status == 401
    assert end.token.reveal not in repr(end)
    assert (await kit.run(worker))["model"] == "a"


async def test_a_container_killed_under_a_job(kit, in_docker, mine, context):
    (worker,) = (await in_docker(kit.entry(executor="docker", warm=True))).workers
    await kit.until_ok(worker)
    (container,) = mine()
    task = asyncio.create_task(kit.run(worker, "slow:60"))
    await asyncio.sleep(0.3)  # into the request
    kit.docker("kill", "--signal", "KILL", container)
    with pytest.raises(WorkerLost) as lost:
        await task
    assert "code 137" in str(lost.value)
    assert lost.value.public.startswith('Post "http://127.0.0.1:')
    assert worker.slot.jobs == 0
    assert (await kit.run(worker))["model"] == "a"
    assert container not in mine()
    assert len(mine()) == 1
    assert len(context.logged("runner lost")) == 1


async def test_out_of_memory_is_the_job_s_own_fault(kit, in_docker):
    made = await in_docker(kit.entry(executor="docker"), limits=Limits(memory_mb=48, pids=64))
    (worker,) = made.workers
    await kit.run(worker)
    with pytest.raises(JobFailed, match="out of memory") as failed:
        await kit.run(worker, "oom:500")
    assert not isinstance(failed.value, WorkerLost)  # another worker would only die of it too
    assert (await kit.run(worker))["model"] == "a"


@pytest.mark.parametrize("deed", ["die", "closed", "garbage", "endless"])
async def test_a_runner_that_answers_badly(kit, in_docker, mine, deed):
    (worker,) = (await in_docker(kit.entry(executor="docker"))).workers
    await kit.run(worker)
    with pytest.raises(JobFailed):
        await kit.run(worker, deed)
    assert worker.slot.jobs == 0
    assert (await kit.run(worker))["model"] == "a"
    assert len(mine()) == 1


async def test_a_job_that_never_ends(kit, in_docker, mine):
    (worker,) = (await in_docker(kit.entry(executor="docker"))).workers
    await kit.run(worker)
    with pytest.raises(JobTimeout):
        await kit.run(worker, "slow:60", timeout_s=0.5)
    assert (await kit.run(worker))["model"] == "a"
    assert len(mine()) == 1


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"FAKE_EXIT": "5"}, "code 5: it cannot work"),
        ({"FAKE_HEALTH": "ERROR"}, "ERROR"),
        ({"FAKE_HEALTH": "LOADING"}, "LOADING"),
    ],
)
async def test_a_container_that_never_becomes_ready(kit, in_docker, mine, environment, says):
    made = await in_docker(
        kit.entry(executor="docker", model="bad", environment=environment),
        kit.entry(executor="docker", model="good"),
        start_timeout_flags_s=2.0,
        timings=kit.PATIENT,
    )
    (worker,) = made.workers
    with pytest.raises(WorkerLost) as failed:
        await kit.run(worker, model="bad")
    assert says in str(failed.value)
    assert failed.value.public == "insufficient capacity"
    assert mine() == []
    with pytest.raises(Busy):
        await kit.run(worker, model="bad")
    assert (await kit.run(worker, model="good"))["model"] == "good"


async def test_an_image_that_is_nowhere(kit, in_docker, mine):
    made = await in_docker(
        kit.entry(executor="docker", model="bad", image="127.0.0.1:9/podium/none:1"),
        kit.entry(executor="docker", model="off", image="podium/none:1"),
        kit.entry(executor="docker", model="good"),
        pull=True,
    )
    (worker,) = made.workers
    with pytest.raises(WorkerLost, match="cannot be pulled") as failed:
        await kit.run(worker, model="bad")
    assert failed.value.public == "insufficient capacity"
    made.workers[0].slot.launchers["docker"].images.pull = False
    with pytest.raises(WorkerLost, match="pulling is off"):
        await kit.run(worker, model="off")
    assert (await kit.run(worker, model="good"))["model"] == "good"
    assert len(mine()) == 1


async def test_a_missing_model_folder_is_said(kit, in_docker, mine):
    made = await in_docker(
        kit.entry(executor="docker"), models_dir="/nowhere/models", timings=kit.PATIENT
    )
    (worker,) = made.workers
    with pytest.raises(WorkerLost, match="/nowhere/models"):
        await kit.run(worker)
    assert mine() == []
    report = await anext(aiter(worker.health()))
    assert report.state is WorkerState.DOWN


async def test_models_take_turns_on_one_place(kit, in_docker, mine):
    made = await in_docker(
        kit.entry(executor="docker", model="a"), kit.entry(executor="docker", model="b")
    )
    (worker,) = made.workers
    for model in ("a", "b", "a"):
        assert (await kit.run(worker, model=model))["model"] == model
        assert len(mine()) == 1


async def test_leftovers_of_an_earlier_life_go_and_other_nodes_are_left_alone(
    kit, image, in_docker, mine, context
):
    context.state_dir.mkdir()
    (context.state_dir / "creator").write_text("this-node")

    def leave(creator):
        labels = ["--label", "creator=ai-worker", "--label", f"creator_id={creator}"]
        return kit.docker("run", "--detach", *labels, image).stdout.strip()

    ours, other = leave("this-node"), leave("another-node")
    try:
        made = await in_docker(kit.entry(executor="docker"))
        assert mine() == []
        assert kit.containers("creator_id=another-node") == [other]
        assert context.logged("leftover runners ended")[0]["count"] == 1
        assert (await kit.run(made.workers[0]))["model"] == "a"
        assert len(mine()) == 1
    finally:
        kit.docker("rm", "--force", ours, other, check=False)


async def test_a_cancelled_start_leaves_no_container(kit, in_docker, mine):
    made = await in_docker(
        kit.entry(executor="docker", warm=True, environment={"FAKE_START_S": "60"})
    )
    (worker,) = made.workers
    await kit.until(mine)
    await worker.close()
    assert mine() == []


async def test_operators_warm_and_evict(kit, in_docker, mine, context):
    made = await in_docker(
        kit.entry(executor="docker", model="a"), kit.entry(executor="docker", model="b")
    )
    (worker,) = made.workers
    key = kit.entry(model="b").key
    assert made.warm(key) == worker.name
    await kit.until(lambda: worker.loaded)
    (status,) = made.status()
    assert (status.state.value, status.model) == ("ok", "b")
    await made.evict(worker.name)
    assert mine() == []
    assert made.status()[0].state.value == "empty"
    assert context.metrics.values["runner_slots", (("device", "cpu"), ("state", "empty"))] == 1
    task = asyncio.create_task(kit.run(worker, "slow:1", model="a"))
    await kit.until(lambda: made.status()[0].state.value == "busy")
    with pytest.raises(Busy):
        await made.evict(worker.name)
    with pytest.raises(Busy):
        made.warm(key)
    await task


async def test_a_network_without_a_way_out(kit, in_docker, mine):
    kit.docker("network", "create", "--internal", "podium-test-internal", check=False)
    try:
        made = await in_docker(
            kit.entry(executor="docker"), hardening=Hardening(network="podium-test-internal")
        )
        assert (await kit.run(made.workers[0]))["model"] == "a"
        await made.workers[0].close()
    finally:
        kit.docker("network", "rm", "podium-test-internal")


def test_gpus_are_asked_for_by_id(kit):
    from podium_ai_runner.executors.docker.body import creation_of
    from podium_ai_runner.executors.values import RunnerSpec
    from podium_hookspecs import Device

    spec = RunnerSpec(kit.entry().key, 33, "gpu-1", "docker", image="i", device=Device("1"))
    host = creation_of(spec, {})["HostConfig"]
    assert host["DeviceRequests"] == [{"Driver": "", "DeviceIDs": ["1"], "Capabilities": [["gpu"]]}]
    assert "DeviceRequests" not in creation_of(evolve(spec, device=Device("cpu")), {})["HostConfig"]
