"""Runners as processes on loopback, and the smallest language models that say something."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from attrs import define, field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

# Tests of models on torch: `make test-models`. Torch is too large for the tests of every change.
collect_ignore = [] if importlib.util.find_spec("torch") else ["torch_models"]

PATIENCE_S = 60
SENTENCE = " the quick brown fox jumps over a lazy dog"
CYCLE = " one two three four five six seven eight nine ten"


@define
class Runner:
    """A runner's process, and a client of it."""

    process: subprocess.Popen
    log: Path
    client: httpx.Client = field(repr=False)

    def url(self, path):
        """Return a path's address, for clients of a test's own."""
        return f"{self.client.base_url}".rstrip("/") + path

    def wait(self, *wanted):
        """Wait until /health says one of these, and return which."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                status = self.client.get("/health").json()["status"]
                if status in wanted:
                    return status
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self):
        """Send SIGTERM; return the exit status and the seconds it took."""
        started = time.monotonic()
        self.process.terminate()
        return self.process.wait(10), time.monotonic() - started

    def peak_bytes(self):
        """Return the most memory that the process had."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) * 1024


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _running(folder, **environ):
    port = _free_port()
    log = folder / f"runner-{port}.log"
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ = known | {"HOST": "127.0.0.1", "PORT": str(port)} | environ
    with log.open("wb") as out:
        command = [sys.executable, "-m", "podium_runner_cpu"]
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=out)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        try:
            yield Runner(process, log, client)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def running(tmp_path):
    """Return a context manager that starts a runner with an environment."""
    return lambda **environ: _running(tmp_path, **environ)


@pytest.fixture(scope="session")
def running_long(tmp_path_factory):
    """Return the same, for runners that several tests share."""
    return lambda **environ: _running(tmp_path_factory.mktemp("runner"), **environ)


def write_safetensors(path, arrays):
    """Write a safetensors file; the format is a length, a table and the data."""
    table, data = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, np.float32).tobytes()
        span = [len(data), len(data) + len(raw)]
        table[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        data += raw
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def make_tokenizer(folder, text):
    """Train a byte-level BPE tokenizer; end of text is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|end|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text] * 10, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def layer_shapes(hidden, heads, kv_heads, inner):
    """Return the arrays of one layer."""
    head = hidden // heads
    return {
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (heads * head, hidden),
        "self_attn.k_proj.weight": (kv_heads * head, hidden),
        "self_attn.v_proj.weight": (kv_heads * head, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }


def make_llama(folder, text, *, learnt):
    """Make a model with two layers: one that learnt which token follows which, or a random one.

    The one that learnt has its layers' outputs at zero: from each token, it knows the next.
    """
    folder.mkdir(parents=True)
    tokenizer = make_tokenizer(folder, text)
    vocabulary = tokenizer.get_vocab_size()
    hidden, heads, kv_heads, inner = (vocabulary + 15) // 16 * 16, 4, 2, 64
    dice = np.random.default_rng(7)
    arrays = {"model.norm.weight": np.ones(hidden)}
    for layer in range(2):
        for name, shape in layer_shapes(hidden, heads, kv_heads, inner).items():
            array = np.ones(shape) if "norm" in name else dice.normal(0, 0.1, shape)
            silent = learnt and ("o_proj" in name or "down_proj" in name)
            arrays[f"model.layers.{layer}.{name}"] = array * (not silent)
    arrays["model.embed_tokens.weight"] = np.eye(vocabulary, hidden)
    head = dice.normal(0, 0.1, (vocabulary, hidden))
    if learnt:
        head = np.zeros((vocabulary, hidden))
        ids = tokenizer.encode(text).ids
        for one, following in itertools.pairwise(ids):
            head[following, one] += 10 / np.sqrt(hidden)
    arrays["lm_head.weight"] = head
    write_safetensors(folder / "model.safetensors", arrays)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "vocab_size": vocabulary,
        "eos_token_id": 0,
        "bos_token_id": 0,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session")
def llm_dir(tmp_path_factory):
    """Models: one recites a sentence, one never ends, one is random."""
    root = tmp_path_factory.mktemp("models")
    make_llama(root / "tiny" / "reciter", f"user assistant:{SENTENCE}<|end|>", learnt=True)
    text = f"user assistant:{CYCLE}{CYCLE}"
    make_llama(root / "models--tiny--endless" / "snapshots" / "abc", text, learnt=True)
    (root / "models--tiny--endless" / "refs").mkdir()
    (root / "models--tiny--endless" / "refs" / "main").write_text("abc")
    make_llama(root / "tiny" / "random", f"user assistant:{SENTENCE}{CYCLE}", learnt=False)
    return root


@pytest.fixture
def sentence():
    """What the reciter says."""
    return SENTENCE
