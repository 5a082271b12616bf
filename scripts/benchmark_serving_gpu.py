"""chartloop's serving on a GPU: the repository rendered for it, in Triton, gives the CPU's codes; how fast.

Needs a CUDA build of torch, one GPU, and chartloop[triton]; says so where one is missing. The encoder runs in
bfloat16 there, so confidences are near those of the CPU and not equal. Writes docs/benchmarks/serving-gpu.json.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from clinical_coding.records import Note
from scripts.benchmark_results import Row, write_results
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, DataDir
from scripts.serving_benchmark.comparison import measure_curve
from scripts.serving_benchmark.curves import Curve, best
from scripts.serving_benchmark.equality import answers_of
from scripts.serving_benchmark.gateway_server import Gateway, ask_gateway, ask_triton, gateway
from scripts.serving_benchmark.load import Codes, suggested
from scripts.serving_benchmark.note_texts import mixed_lengths, texts_of
from scripts.serving_benchmark.peer_wire import write_codes
from scripts.serving_benchmark.processes import end_servers_with_us

__all__ = ["agreement", "gpu_settings", "run"]


def gpu_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of ``configs/serving.yaml`` for a GPU, without a standby worker that could answer in its place."""
    triton = settings["triton"] | {"device": "gpu"}
    return settings | {"triton": triton, "fallback": settings["fallback"] | {"mode": "off"}}


def agreement(answers: Sequence[Codes], expected: Sequence[Codes]) -> tuple[float, float]:
    """Share of suggested codes that both suggest, and the greatest difference of a confidence among them."""
    pairs = list(zip(answers, expected, strict=True))
    both = sum(len(codes.keys() & others.keys()) for codes, others in pairs)
    either = sum(len(codes.keys() | others.keys()) for codes, others in pairs)
    differences = [
        abs(codes[key]["confidence"] - others[key]["confidence"])
        for codes, others in pairs
        for key in codes.keys() & others.keys()
    ]
    return both / either if either else 1.0, max(differences, default=0.0)


async def measure(
    server: Gateway, *, bundle: Path, number: int, known: Sequence[str], mixed: Sequence[str], levels: Sequence[int]
) -> tuple[list[Codes], Curve, Curve]:
    """What Triton answers to known texts, and the curves of the gateway and of its Triton."""
    async with ask_gateway(server) as ours, ask_triton(server, bundle=bundle, number=number) as triton:
        answers = await answers_of(triton, known)
        curve = await measure_curve(ours, mixed, levels=levels, tree=server.tree)
        return answers, curve, await measure_curve(triton, mixed, levels=levels, tree=server.tree)


def run(
    version: Annotated[str, typer.Option(help="The version to serve.")] = "candidate",
    notes: Annotated[int, typer.Option(help="Notes for each measurement.")] = 500,
    levels: Annotated[str, typer.Option(help="Numbers of clients, comma between.")] = "1,8,32",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Measure, and write the results."""
    import torch

    from governance.versions import resolve_version
    from training.model import Scorer

    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU: run this on a machine with one, with the CUDA build of torch")
    end_servers_with_us()
    resolved = resolve_version(version, data_dir=data_dir)
    known = texts_of(mixed_lengths(32, seed=3), seed=3)
    scorer = Scorer(resolved.folder, num_threads=os.cpu_count())
    on_cpu = [suggested(write_codes(scorer.score([[Note(note_id="n", text=text)]])[0])) for text in known]
    settings = gpu_settings(yaml.safe_load((CONFIGS / "serving.yaml").read_text()))
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "serving.yaml"
        config.write_text(yaml.safe_dump(settings))
        with gateway(version, data_dir=data_dir, config=config) as server:
            answers, ours, triton = asyncio.run(
                measure(
                    server,
                    bundle=resolved.folder,
                    number=resolved.version.number or 1,
                    known=known,
                    mixed=texts_of(mixed_lengths(notes, seed=1), seed=1),
                    levels=[int(level) for level in levels.split(",")],
                )
            )
    share, difference = agreement(answers, on_cpu)
    rows = [
        Row("suggested codes that GPU and CPU agree on", share, "share of codes"),
        Row("greatest difference of a confidence", difference, "confidence"),
    ]
    for name, curve in (("gateway and Triton", ours), ("Triton alone", triton)):
        top = best(curve)
        rows += [
            Row(f"{name}, throughput", top.notes_per_second, "notes/s"),
            Row(f"{name}, p99 at that", 1000 * top.p99_seconds, "ms"),
            Row(f"{name}, p99 of one client", 1000 * curve[0].p99_seconds, "ms"),
        ]
    typer.echo(write_results("serving-gpu", rows, gpu=torch.cuda.get_device_name(), notes_a_level=notes))


if __name__ == "__main__":
    typer.run(run)
