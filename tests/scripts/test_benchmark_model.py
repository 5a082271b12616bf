"""The model benchmark: every way gives the same logits, and it runs with only what a GPU machine has installed."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts.model_benchmark.shapes import TINY, random_notes
from scripts.model_benchmark.ways import Forward
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
        ways.append(forward.sorted_batches)
    for way in ways:
        torch.testing.assert_close(torch.stack(way(notes)), expected, atol=tolerance, rtol=tolerance, msg=str(way))


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
