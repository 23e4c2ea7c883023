"""What gateways are told of AI models, beside what the recorded node told them."""

import pytest
from podium.wire.pb import lp_rpc_pb2 as pb

ALL_BITS = (*range(13), 14, 26)
AI = (*range(27, 35), 36)
LIVE = 35
CASES = range(5)
LIVE_WHY = "live video is not done yet"
CRASHED = "the reference lost a slot for good with each of its crashes"
SUM = "the count beside a capability's bit is that of its models' slots"
VERSION = "every runner is asked its version"
WARM = "a runner behind a URL that answers is warm, whatever the list says"
OTHER = "a model that another recording needs"
REPLIES = {"GetOrchestrator": pb.OrchestratorInfo, "Ping": pb.PingPong}


@pytest.fixture(scope="module")
def cases(ai_kit):
    return ai_kit.load("discovery")


def send(kit, node, case):
    (message,) = case["request"]["messages"]
    data = bytes.fromhex(message["hex"])
    body = b"\0" + len(data).to_bytes(4, "big") + data
    headers = [tuple(pair) for pair in case["request"]["headers"] if pair[0] != "host"]
    with kit.OverH2(node.port) as client:
        return client.request("POST", case["request"]["path"], headers, body)


def models_of(reply):
    constraints = reply.capabilities.constraints.PerCapability
    return {
        (number, name): {
            "warm": model.warm,
            "capacity": model.capacity,
            "version": model.runnerVersion,
        }
        for number, entry in constraints.items()
        for name, model in entry.models.items()
    }


def bits_of(reply):
    words = reply.capabilities.bitstring
    return {64 * i + n for i, word in enumerate(words) for n in range(64) if word >> n & 1}


@pytest.mark.parametrize("number", CASES)
def test_models_bits_and_hardware(kit, ai_node, cases, tally, number):
    case = cases[number]
    recorded = pb.OrchestratorInfo.FromString(bytes.fromhex(case["response"]["messages"][0]["hex"]))
    answer = send(kit, ai_node, case)
    assert dict(answer.trailers)["grpc-status"] == "0"
    ours = kit.unframed(pb.OrchestratorInfo, answer.body)

    def view(reply):
        models = models_of(reply)
        return {
            "bits": sorted(bits_of(reply)),
            "capacities": {str(k): v for k, v in reply.capabilities.capacities.items()},
            "version": reply.capabilities.version,
            "models": {f"{n}_{name}": facts for (n, name), facts in models.items()},
            "address": reply.address.hex(),
            "priced": reply.HasField("price_info") or reply.HasField("ticket_params"),
            "prices": len(reply.capabilities_prices),
            "hardware": hardware(reply),
        }

    found = kit.differences(view(recorded), view(ours))
    tally.judge(("discovery", number), found, *explained(found))


def hardware(reply):
    """Each model's, and its GPU: which entry is which runner's is each node's own."""
    return sorted(
        {
            f"{entry.pipeline} {gpu.id} {gpu.name} {gpu.major}.{gpu.minor} {gpu.memory_total}"
            for entry in reply.hardware
            if entry.pipeline != "live-video-to-video"
            for gpu in entry.gpu_info.values()
        }
    )


def explained(found):
    """Why our reply differs where it does; the values are asserted below."""
    if "bits" in found:
        assert found["bits"] == sorted({*ALL_BITS, *AI})
    reasons = {
        LIVE_WHY: lambda p: p == "bits" or p == "capacities.35" or p.startswith("models.35_"),
        SUM: lambda p: p.startswith("capacities.") and p != "capacities.35",
        CRASHED: lambda p: p.endswith(".capacity") or p == "models.36_acme/text-to-speech",
        WARM: lambda p: p == "models.30_acme/upscale.warm",
        VERSION: lambda p: p == "models.27_acme/one.version",
        OTHER: lambda p: p == "models.27_acme/drop",
    }
    for because, covers in reasons.items():
        mine = {path: value for path, value in found.items() if covers(path)}
        if mine:
            yield mine, because


def test_the_slots_are_those_that_were_configured(kit, ai_node, ai_kit):
    reply = ai_node.discover(kit)
    found = models_of(reply)
    entries = ai_kit.models(0)
    assert {name: facts["capacity"] for (_, name), facts in found.items()} == {
        entry["model_id"]: entry.get("capacity", 1) for entry in entries
    }
    assert {facts["version"] for facts in found.values()} == {"0.14.1"}
    assert all(facts["warm"] for facts in found.values()), "a runner behind a URL is always there"
    assert reply.capabilities.capacities[27] == 102
    assert bits_of(reply) == {*ALL_BITS, *AI}


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_other_calls(kit, ai_node, cases, tally, number):
    case = cases[number]
    answer = send(kit, ai_node, case)
    recorded = dict(case["response"]["trailers"])
    ours = {k: v for k, v in answer.trailers if k in ("grpc-status", "grpc-message")}
    found = kit.differences(recorded, ours)
    tally.judge(("discovery", number), found, *OTHER_CALLS.get(number, ()))


OTHER_CALLS = {
    5: [
        (
            {"grpc-message": "grpc: error unmarshalling request"},
            "the decoder's own words, whose space Go varies on purpose, are left out",
        )
    ],
    6: [
        (
            {"grpc-message": "a ping's value has 0 or 32 bytes", "grpc-status": "3"},
            "signing what anybody sends would sign tickets, too",
        )
    ],
    7: [
        (
            {"grpc-message": "unknown method /net.AIWorker/RegisterAIWorker"},
            "the path is named where the reference names the service",
        )
    ],
    8: [
        (
            {
                "grpc-message": "unknown method /net.Transcoder/RegisterTranscoder",
                "grpc-status": "12",
            },
            "remote transcoders are not served yet",
        )
    ],
}
