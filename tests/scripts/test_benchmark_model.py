"""The model benchmark: every way gives the same logits, and it runs with only what a GPU machine has installed."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel

from scripts.model_benchmark.shapes import MODERNBERT, PAD, TINY, random_notes
from scripts.model_benchmark.sorted_batches import SortedBatches
from scripts.model_benchmark.ways import Forward
from scripts.model_benchmark.work import work_rows
from training.model.packing import pack_windows
from training.model.varlen import attend_by_edges

WITHOUT_OPTIONAL_PACKAGES = """
import sys

ABSENT = set(sys.argv.pop(1).split(","))

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

from scripts.benchmark_model import main

main()
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
"""
ABSENT = (
    "datasets,fastapi,matplotlib,mlflow,openvino,pandas,pyarrow,rich,scipy,sentence_transformers,simple_icd_10_cm,"
    "sklearn,sqlalchemy,typer"
)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_every_way_gives_the_same_logits(dtype: torch.dtype, tolerance: float) -> None:
    forward = Forward.make(TINY, num_labels=50, device=torch.device("cpu"), dtype=dtype)
    notes = random_notes(5, shape=TINY, sigma=0.9, seed=int(torch.randint(1000, ())))
    expected = torch.stack(forward.one_by_one(notes))
    attend_by_edges(forward.encoder)
    flat = replace(forward, is_flat=True, fast_encoder=forward.encoder)
    # OpenVINO has made its own of the weights.
    ways = [replace(forward, fast_encoder=forward.encoder).packed, forward.packed, forward.padded, flat.packed]
    if importlib.util.find_spec("sentence_transformers") is not None:
        ways.append(partial(forward.sorted_batches, SortedBatches(forward.encoder, forward.device)))
    for way in ways:
        torch.testing.assert_close(torch.stack(way(notes)), expected, atol=tolerance, rtol=tolerance, msg=str(way))


def test_arithmetic_and_traffic_are_those_counted_by_hand() -> None:
    encoder = TINY.make()
    # Two layers of hidden size 32: four square matrices and two of the wider 64.
    weights, channels = 2 * (4 * 32 * 32 + 2 * 32 * 64), 2 * (4 * 64 + 2 * 96)
    notes = [[[101, *[2000] * 8, 102]], [[101, *[2000] * 2, 102]]]
    stacks = pack_windows(notes, pad_token_id=PAD, flat=True).stacks
    rows = work_rows("tiny", notes, stacks=stacks, shape=TINY, encoder=encoder, itemsize=4)
    told = {(row.metric, row.peer): (row.value, row.peer_value) for row in rows}

    def flop(*windows: int) -> float:
        return sum(width * (2 * weights + 4 * 2 * 32 * width) for width in windows) / 2 / 1e9

    def megabytes(num_calls: int, num_tokens: int) -> float:
        return 4 * (num_calls * weights + num_tokens * channels) / 2 / 1e6

    # One call over 14 tokens; a call for each note; one call over twice the longer.
    assert told["tiny arithmetic", "one by one"] == pytest.approx((flop(10, 4), flop(10, 4)))
    assert told["tiny arithmetic", "padded"] == pytest.approx((flop(10, 4), flop(10, 10)))
    assert told["tiny least traffic", "one by one"] == pytest.approx((megabytes(1, 14), megabytes(2, 14)))
    assert told["tiny least traffic", "padded"] == pytest.approx((megabytes(1, 14), megabytes(1, 20)))


def test_a_layer_with_sliding_attention_reads_what_is_near() -> None:
    sizes = {
        "vocab_size": 50,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 12,
    }
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    encoder = ModernBertModel(ModernBertConfig(**sizes, **special, local_attention=10))
    assert encoder.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    short, long = (MODERNBERT.flop_a_token(encoder, window_tokens=tokens) for tokens in (11, 100))
    # Beyond five tokens on each side only the first layer reads more.
    assert long - short == 4 * 8 * (100 - 11)


def test_it_runs_without_optional_packages(tmp_path: Path) -> None:
    path = tmp_path / "smoke.json"
    command = [sys.executable, "-c", WITHOUT_OPTIONAL_PACKAGES, ABSENT, "--suite", "smoke", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    metrics = {row["metric"]: row["value"] for row in json.loads(path.read_text())["rows"]}
    for metric in (
        "tiny BERT LoRA training notes",
        "tiny BERT forward notes",
        "tiny BERT forward time with 200 labels",
        "tiny BERT forward peak memory with 200 labels",
    ):
        assert metrics[metric] > 0
    assert metrics["tiny BERT forward greatest difference of a logit"] < 1e-4


def test_a_gpu_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts.benchmark_model import main

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmark_model", "--suite", "gpu"])
    with pytest.raises(SystemExit):
        main()
    assert "torch sees no GPU" in capsys.readouterr().err
