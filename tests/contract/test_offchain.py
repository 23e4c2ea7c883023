"""Everything recorded between a gateway and an orchestrator off chain, downloads included.

Off chain nothing is signed, so a token of our node's takes the place of the recorded one, whose
secret is not known; a body whose media are not kept is replaced by one of the same kind.
"""

import base64
import hashlib
import io
import json
import re
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path

import av
import pytest
from podium.crypto import keccak256
from podium.wire.pb import lp_rpc_pb2 as pb

DATA = Path(__file__).parent / "data/offchain-video"
STREAMS = {name: json.loads((DATA / f"{name}.json").read_text()) for name in ("basic", "rich")}
CASES = [(name, number) for name, cases in STREAMS.items() for number in range(len(cases))]
REPLIES = {
    "Ping": pb.PingPong,
    "GetOrchestrator": pb.OrchestratorInfo,
    "EndTranscodingSession": pb.EndTranscodingSessionResponse,
}
TOKEN = "the token's secret is not known: our node issued the token"
BODY = "its media are not kept: another body of the same kind, with its hash"
TRUNCATED_BYTES = 300_000


def kind_of(case):
    path = case["request"]["path"]
    if path.startswith("/net."):
        return path.rpartition("/")[2]
    return "download" if path.startswith("/stream/") else "segment"


def recorded_message(kit, case):
    kind, body = kind_of(case), case["response"]["body"]
    if kind == "download":
        return None
    data = bytes.fromhex(body["hex"])
    if kind == "segment":
        return kit.plain(pb.TranscodeResult.FromString(data))
    message = kit.plain(kit.unframed(REPLIES[kind], data))
    message.pop("auth_token", None)
    return message


def recorded_view(kit, case):
    response, body = case["response"], case["response"]["body"]
    return {
        "http": response["http"],
        "alpn": case["tls"]["alpn"] or None,
        "status": response["status"],
        "headers": comparable(kit, kind_of(case), response["headers"], body["length"]),
        "trailers": response["trailers"],
        "message": recorded_message(kit, case),
    }


def comparable(kit, kind, headers, length):
    """Headers by name; those of gRPC as pairs, for they repeat."""
    if kind in REPLIES:
        return sorted(list(pair) for pair in headers if pair[0] != "date")
    return kit.named(headers, length)


def start_time(cases):
    """Unix seconds at which the first answer with a date was given."""
    dates = [dict(c["response"]["headers"]).get("date") for c in cases]
    return int(parsedate_to_datetime(next(filter(None, dates))).timestamp())


def service_uri(cases):
    replies = [c for c in cases if kind_of(c) == "GetOrchestrator"]
    data = bytes.fromhex(replies[0]["response"]["body"]["hex"])
    return pb.OrchestratorInfo.FromString(data[5:]).transcoder


def remuxed(source, container, *, audio=True):
    """The same packets in another container, or without the sound."""
    target = io.BytesIO()
    with av.open(io.BytesIO(source)) as given, av.open(target, "w", format=container) as made:
        streams = {
            stream.index: made.add_stream_from_template(stream)
            for stream in given.streams
            if stream.type == "video" or (audio and stream.type == "audio")
        }
        for packet in given.demux():
            if packet.dts is not None and packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    return target.getvalue()


@pytest.fixture(scope="module")
def bodies(media):
    """Bodies by the SHA-256 they were recorded with, and stand-ins by manifest."""
    first, second = media.values()
    known = dict(media)
    truncated = first[:TRUNCATED_BYTES]
    known[hashlib.sha256(truncated).hexdigest()] = truncated
    stand_ins = {
        "movie": second,
        "rich": second,
        "mp4stream": remuxed(first, "mp4"),
        "na": remuxed(first, "mpegts", audio=False),
    }
    return known, stand_ins


class Replay:
    """One recording against one node: our sessions take the place of the recorded ones."""

    def __init__(self, kit, node, bodies):
        self.kit, self.node = kit, node
        self.bodies, self.stand_ins = bodies
        self.tokens = {}

    def view(self, case):
        kind = kind_of(case)
        answer = getattr(self, "_segment" if kind == "segment" else f"_{kind}", self._call)(case)
        message = self._message(kind, case, answer)
        return {
            "http": "HTTP/2.0" if answer.alpn == "h2" else "HTTP/1.1",
            "alpn": answer.alpn,
            "status": answer.status,
            "headers": comparable(self.kit, kind, answer.headers, len(answer.body)),
            "trailers": [list(pair) for pair in answer.trailers],
            "message": message,
        }

    def _send(self, case, path, headers, body):
        with self.kit.OverH2(self.node.port, *case["tls"]["alpn_offered"]) as client:
            return client.request(case["request"]["method"], path, headers, body)

    def _call(self, case):
        request = case["request"]
        body = bytes.fromhex(request["body"]["hex"])
        return self._send(case, request["path"], request["headers"], body)

    def _EndTranscodingSession(self, case):
        data = bytes.fromhex(case["request"]["body"]["hex"])
        message = self.kit.unframed(pb.EndTranscodingSessionRequest, data)
        message.auth_token.CopyFrom(self.tokens[message.auth_token.session_id])
        request = case["request"]
        return self._send(case, request["path"], request["headers"], self.kit.framed(message))

    def _download(self, case):
        _, _, session_id, rest = case["request"]["path"].split("/", 3)
        path = f"/stream/{self.tokens[session_id].session_id}/{rest}"
        return self.kit.over_h1(self.node.port, "GET", path, case["request"]["headers"])

    def _segment(self, case):
        request = case["request"]
        headers = dict(request["headers"])
        message = pb.SegData.FromString(base64.b64decode(headers["livepeer-segment"]))
        message.auth_token.CopyFrom(self.tokens[message.auth_token.session_id])
        body = self._body_of(case, message.manifestId.decode())
        message.hash = keccak256(body)
        headers["livepeer-segment"] = base64.b64encode(message.SerializeToString()).decode()
        headers["content-length"] = str(len(body))
        return self._send(case, request["path"], list(headers.items()), body)

    def _body_of(self, case, manifest_id):
        recorded = case["request"]["body"]
        if "hex" in recorded:
            return bytes.fromhex(recorded["hex"])
        return self.bodies.get(recorded["sha256"], self.stand_ins.get(manifest_id))

    def _message(self, kind, case, answer):
        if kind == "download":
            return None
        if kind != "segment":
            message = self.kit.plain(self.kit.unframed(REPLIES[kind], answer.body))
            if kind == "GetOrchestrator":
                self._learn(case, self.kit.own_token(self.node, message))
            return message
        message = self.kit.plain(pb.TranscodeResult.FromString(answer.body))
        header = dict(case["request"]["headers"])["livepeer-segment"]
        recorded = pb.SegData.FromString(base64.b64decode(header)).auth_token
        ours = self.tokens[recorded.session_id]
        if message["info"]["auth_token"] == self.kit.plain(ours):
            message["info"]["auth_token"] = self.kit.plain(recorded)
        for segment in message.get("data", {}).get("segments", []):
            mine, theirs = f"/{ours.session_id}/", f"/{recorded.session_id}/"
            segment["url"] = segment["url"].replace(mine, theirs)
        return message

    def _learn(self, case, token):
        data = bytes.fromhex(case["response"]["body"]["hex"])
        recorded = self.kit.unframed(pb.OrchestratorInfo, data).auth_token
        assert token is not None
        self.tokens[recorded.session_id] = pb.AuthToken(
            token=bytes.fromhex(token["token"]),
            session_id=token["session_id"],
            expiration=token["expiration"],
        )


@pytest.fixture(scope="module")
def replayed(kit, start_offchain, bodies):
    found = {}
    for name, cases in STREAMS.items():
        node = start_offchain(service_uri(cases), start_time(cases))
        replay = Replay(kit, node, bodies)
        for number, case in enumerate(cases):
            found[name, number] = replay.view(case)
        found[name, "sessions"] = node.app.call(len, node.app.node.sessions)
        with urllib.request.urlopen(f"{node.app.admin_uri}/metrics") as page:
            found[name, "metrics"] = page.read().decode()
        node.app.stop()
    return found


def remade(case, bodies):
    kind = kind_of(case)
    if kind in ("Ping", "GetOrchestrator"):
        return None
    if kind != "segment" or "hex" in case["request"]["body"]:
        return TOKEN
    return TOKEN if case["request"]["body"]["sha256"] in bodies[0] else BODY


def standing(kit, case):
    """What differs in every answer of a kind."""
    kind = kind_of(case)
    if kind == "GetOrchestrator":
        yield kit.capabilities_at("message.capabilities")
    if kind == "segment":
        yield kit.capabilities_at("message.info.capabilities")
    if kind == "download" and case["request"]["path"].endswith(".ts"):
        yield kit.mime


@pytest.mark.parametrize(("name", "number"), CASES)
def test_exchange(kit, tally, replayed, bodies, name, number):
    case = STREAMS[name][number]
    found = kit.differences(recorded_view(kit, case), replayed[name, number])
    why = remade(case, bodies)
    tally.judge((name, number), found, standing=list(standing(kit, case)), remade=why)


def test_ended_sessions_are_gone(replayed):
    """Of the six streams of ``rich`` one is ended by time-out only, as recorded."""
    assert replayed["rich", "sessions"] == 1


def series(page):
    """The reference's series of a metrics page, without the host and without values."""
    found = set()
    for name, labels in re.findall(r"^(livepeer_\w+)\{(.*)\} ", page, re.MULTILINE):
        pairs = re.findall(r'(\w+)="([^"]*)"', labels)
        kept = name != "livepeer_versions"
        found.add((name, frozenset((k, v if kept and k != "node_id" else "...") for k, v in pairs)))
    return found


def test_metrics_after_the_same_kind_of_work(replayed):
    """Three segments here, twelve there, of the same two presets: the same series."""
    page = (DATA.parent / "metrics/orchestrator-offchain-after-12-segments.txt").read_text()
    recorded = series(page)
    assert len(recorded) > 50
    assert series(replayed["basic", "metrics"]) == recorded
