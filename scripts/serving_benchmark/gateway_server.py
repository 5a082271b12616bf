"""Our side of the comparison: ``chartloop serve`` on free ports, asked over HTTP, or its Triton over gRPC."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from clinical_coding.bundle import read_bundle, read_labels
from clinical_coding.data_directory import DataDirectory
from clinical_coding.records import Note
from ledger.local_key import LOCAL_KEY_FILE
from scripts.serving_benchmark.load import ANSWER_TIMEOUT_SECONDS, Ask, Reply, http_client, suggested
from scripts.serving_benchmark.peer_wire import write_codes
from scripts.serving_benchmark.processes import ProcessTree, free_port, tail

__all__ = ["Gateway", "ask_gateway", "ask_triton", "encounter", "gateway"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running ``chartloop serve``."""

    url: str
    key: str
    triton_address: str
    triton_metrics_url: str
    tree: ProcessTree

    def headers(self) -> dict[str, str]:
        """Of every request to it."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def gateway(
    version: str | None,
    *,
    data_dir: Path,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Gateway]:
    """Run ``chartloop serve`` until the block ends.

    Args:
        version: What to serve; the champion, followed, when None.
        data_dir: Where from.
        config: Settings in place of configs/serving.yaml.
        environment: Variables beside the inherited ones.

    Raises:
        ValueError: It did not come to answer.
    """
    grpc_port, metrics_port = free_port(), free_port()
    command = [sys.executable, "-m", "scripts.chartloop", "serve", "--data-dir", str(data_dir)]
    command += ["--version", version] if version else []
    command += ["--port", "0", "--triton-grpc-port", str(grpc_port), "--triton-metrics-port", str(metrics_port)]
    command += ["--config", str(config)] if config else []
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | dict(environment or {})
        )
        tree = ProcessTree(psutil.Process(process.pid))
        try:
            assert process.stdout is not None
            ready = next((line for line in process.stdout if line.startswith("ready:")), None)
            if ready is None:
                raise ValueError(f"chartloop serve did not start:\n{tail(log)}")
            key = (DataDirectory.locate(data_dir).keys / LOCAL_KEY_FILE).read_text().strip()
            metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
            yield Gateway(re.findall(r"http://\S+", ready)[0], key, f"127.0.0.1:{grpc_port}", metrics_url, tree)
        finally:
            tree.end()
            process.wait()


def encounter(text: str) -> dict[str, Any]:
    """The request of one note."""
    return {
        "record_id": "benchmark",
        "encounter": {"setting": "outpatient", "specialty": "family-medicine"},
        "notes": [{"note_id": "n", "text": text}],
    }


@asynccontextmanager
async def ask_gateway(server: Gateway) -> AsyncIterator[Ask]:
    """Ask the gateway for suggestions, over as many connections as are needed."""
    async with http_client(server.headers()) as http:

        async def ask(text: str) -> Reply:
            answer = await http.post(f"{server.url}/v1/suggestions", json=encounter(text))
            content = answer.json()
            return Reply(
                answer.status_code,
                degraded=bool(content.get("degraded")),
                codes=suggested(content),
                retry_after_seconds=float(answer.headers["retry-after"]) if "retry-after" in answer.headers else None,
            )

        yield ask


@asynccontextmanager
async def ask_triton(server: Gateway, *, bundle: Path, number: int) -> AsyncIterator[Ask]:
    """Ask the gateway's Triton itself.

    Args:
        server: Whose Triton.
        bundle: The bundle that it serves.
        number: Of the version.
    """
    from serving.triton.client import TritonBackend

    _, bundle_sha256 = read_bundle(bundle)
    backend = TritonBackend(
        server.triton_address, version=number, labels=read_labels(bundle), bundle_sha256=bundle_sha256
    )

    async def ask(text: str) -> Reply:
        scored = await backend.score([Note(note_id="n", text=text)], timeout_seconds=ANSWER_TIMEOUT_SECONDS)
        return Reply(httpx.codes.OK, codes=suggested(write_codes(scored.codes)))

    try:
        yield ask
    finally:
        await backend.close()
