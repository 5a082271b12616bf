"""Speed of the gateway with Triton beside the same forward in one process, on the same cores, in one run.

Starts ``chartloop serve`` on the version named, asks it with notes of 300 words, one at a time and from several
clients at once, then scores the same notes in a process of their own. Writes docs/benchmarks/serving.json.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from clinical_coding.records import Note
from clinical_coding.suggestions import SuggestionRequest
from scripts.benchmark_results import Row, write_results
from scripts.options import DEFAULT_DATA_DIR, DataDir

__all__ = ["run"]

_WORDS = 300
_IN_PROCESS = """
import json, os, sys, time
from pathlib import Path
from clinical_coding.records import Note
from training.model import Scorer
scorer = Scorer(Path(sys.argv[1]), num_threads=os.cpu_count())
documents = [[Note(note_id="n", text=text)] for text in json.load(sys.stdin)]
size = int(sys.argv[2])
scorer.score(documents[:size])
started = time.perf_counter()
for first in range(0, len(documents), size):
    scorer.score(documents[first : first + size])
print(len(documents) / (time.perf_counter() - started))
"""


def sample_texts(count: int) -> list[str]:
    """Sample notes cut or strung together to exactly 300 words each."""
    from clinical_coding.readers import read_records

    words = [
        word
        for record in read_records(f"sample:{count * 2}?seed=77")
        for note in record.notes
        for word in note.text.split(" ")
    ]
    return [" ".join(words[at * _WORDS : (at + 1) * _WORDS]) for at in range(count)]


@contextmanager
def serving(version: str, *, data_dir: Path) -> Iterator[str]:
    """Run ``chartloop serve`` on free ports; yields the gateway's address."""
    command = [sys.executable, "-m", "scripts.chartloop", "serve", "--version", version, "--data-dir", str(data_dir)]
    command += ["--port", "0", "--triton-grpc-port", "0", "--triton-metrics-port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout is not None
            ready = next((line for line in server.stdout if line.startswith("ready:")), None)
            if ready is None:
                log.seek(0)
                raise ValueError(f"chartloop serve did not start:\n{log.read()[-2000:]}")
            yield re.findall(r"http://\S+", ready)[0]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def run(
    version: Annotated[str, typer.Option(help="The version to serve.")] = "candidate",
    requests: Annotated[int, typer.Option(help="Notes for each measurement.")] = 160,
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 8,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Measure, and write the results."""
    from clinical_coding.data_directory import DataDirectory
    from governance.versions import resolve_version
    from ledger.principals import LOCAL_KEY_FILE
    from serving.client import Client

    texts = sample_texts(requests)
    bundle = resolve_version(version, data_dir=data_dir).folder

    def ask(client: Client, text: str) -> float:
        request = SuggestionRequest.model_validate(
            {
                "record_id": "benchmark",
                "encounter": {"setting": "outpatient", "specialty": "family-medicine"},
                "notes": [Note(note_id="n", text=text)],
            }
        )
        started = time.perf_counter()
        suggestion = client.suggest(request)
        assert not suggestion.degraded, "the fallback answered; this measures Triton"
        return time.perf_counter() - started

    with serving(version, data_dir=data_dir) as url:
        key = (DataDirectory.locate(data_dir).keys / LOCAL_KEY_FILE).read_text().strip()
        with Client(url, key) as client:
            for text in texts[:10]:
                ask(client, text)
            alone = sorted(ask(client, text) for text in texts)
        with ThreadPoolExecutor(clients) as pool:
            connections = [Client(url, key) for _ in range(clients)]
            list(pool.map(ask, connections, texts[:clients]))
            started = time.perf_counter()
            shared = sorted(pool.map(lambda at: ask(connections[at % clients], texts[at]), range(requests)))
            notes_per_second = requests / (time.perf_counter() - started)
    in_process = {}
    for size in (1, clients):
        command = [sys.executable, "-c", _IN_PROCESS, str(bundle), str(size)]
        done = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True, check=True)
        in_process[size] = float(done.stdout)
    best = max(in_process.values())
    rows = [
        Row("latency_p50_one_client", 1000 * statistics.median(alone), "ms"),
        Row("latency_p99_one_client", 1000 * alone[int(0.99 * len(alone))], "ms"),
        Row(f"latency_p50_{clients}_clients", 1000 * statistics.median(shared), "ms"),
        Row(
            f"throughput_{clients}_clients",
            notes_per_second,
            "notes/s",
            "in-process forward, better of the two below",
            best,
        ),
        *(Row(f"in_process_batch_{size}", rate, "notes/s") for size, rate in in_process.items()),
    ]
    typer.echo(write_results("serving", rows, words_a_note=_WORDS, requests=requests, threads=os.cpu_count()))


if __name__ == "__main__":
    typer.run(run)
