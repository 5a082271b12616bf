"""``chartloop serve``: one process that owns the gateway, the embedded Triton and the fallback (stages 6, 7).

Composition only: what each part does is told in its own module. Everything that is started is
ended, in the reverse order, whether the end is a signal or a failure half-way.
"""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import structlog
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from sqlalchemy import Engine

from clinical_coding.bundle import read_bundle, read_labels
from clinical_coding.data_directory import DataDirectory
from clinical_coding.suggestions import VersionName
from ledger.engine import ledger
from ledger.principals import LOCAL_KEY_FILE, ensure_local_key
from serving.backends import Backend, BackendError
from serving.claims import HOST, choose_ports, claim_data_directory, claim_port
from serving.fallback.client import FallbackBackend, FallbackSettings
from serving.gateway.app import Gauges, create_app
from serving.gateway.routing import RoutingSettings
from serving.logs import configure_logs
from serving.settings import ServingSettings

__all__ = ["serve"]

_DRAIN_SECONDS: Final = 10
_LOAD_TIMEOUT_SECONDS: Final = 120.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    bundle: Path
    version: VersionName
    data: DataDirectory
    settings: ServingSettings
    routing: RoutingSettings
    backend: Literal["triton", "local"]
    triton_url: str | None
    triton_ports: tuple[int, int]
    """Of gRPC and of Triton's own metrics."""


@dataclass(frozen=True, slots=True)
class _Backends:
    """What was started, and how it is described in the ready line."""

    primary: Backend
    fallback: FallbackBackend | None
    gauges: Gauges
    description: str


def serve(
    bundle: Path,
    *,
    version: VersionName,
    data_dir: Path,
    settings: ServingSettings,
    routing: RoutingSettings,
    port: int = 8080,
    backend: Literal["triton", "local"] = "triton",
    triton_url: str | None = None,
    triton_grpc_port: int = 8001,
    triton_metrics_port: int = 8002,
    database_url: str | None = None,
) -> None:
    """Serve one version on loopback until SIGTERM or SIGINT; return when everything has ended.

    Prints one line on standard output, ``ready: URL (…)``, once a suggestion would be answered.
    At first start ``<data_dir>/keys/local.key`` gets the key of a coder named ``local``.

    Args:
        bundle: The version's bundle folder.
        version: Its name, as ``governance.versions`` resolved it.
        data_dir: Database, keys, logs and model repository live here; one server at a time.
        settings: Gateway, fallback and Triton.
        routing: Thresholds of the route.
        port: Of the gateway; 0 takes a free one.
        backend: ``triton``, or ``local`` for the worker process alone.
        triton_url: ``host:port`` of a Triton that somebody else runs; none is started then. The channel
            is not encrypted, so the Triton must be on this machine or on a network that may see notes.
        triton_grpc_port: Of the embedded Triton; 0 takes a free one.
        triton_metrics_port: Of the embedded Triton's own metrics; 0 takes a free one.
        database_url: PostgreSQL, or SQLite elsewhere; ``<data_dir>/chartloop.db`` when None.

    Raises:
        ValueError: The data directory is being served, a port is in use, a file is damaged, the version
            reads less than the gateway accepts, the database cannot be reached, or the model cannot
            start; the message says where to look.
    """
    data = DataDirectory.locate(data_dir)
    _check_reach(bundle, settings=settings)
    ports = (triton_grpc_port, triton_metrics_port)
    plan = _Plan(bundle, version, data, settings, routing, backend, triton_url, ports)
    with claim_data_directory(data), claim_port(port) as listener:
        configure_logs()
        with ledger(data.root, url=database_url) as engine:
            if not ensure_local_key(engine, data.keys / LOCAL_KEY_FILE):
                _log.warning("local-key-revoked")
            try:
                asyncio.run(_run(plan, listener=listener, engine=engine))
            except BackendError as error:
                remedy = (
                    f"see the logs below {data.root}" if triton_url is None else f"check the Triton at {triton_url}"
                )
                raise ValueError(f"version cannot be served: {error}; {remedy}") from None


def _check_reach(bundle: Path, *, settings: ServingSettings) -> None:
    """Refuse a version that would leave the end of an accepted note unread."""
    windowing = read_bundle(bundle)[0].windowing
    # A token is at least one character, and two tokens of each window are the encoder's own.
    reach = windowing.max_windows * (windowing.max_window_tokens - 2)
    accepted = settings.gateway.max_note_characters
    if reach < accepted:
        raise ValueError(
            f"windowing.max_windows {windowing.max_windows} of the version is sure to read {reach:,} characters, and "
            f"gateway.max_note_characters accepts {accepted:,}; lower gateway.max_note_characters to at most {reach}, "
            "or train with a larger windowing.max_windows"
        )


async def _run(plan: _Plan, *, listener: socket.socket, engine: Engine) -> None:
    task = asyncio.current_task()
    assert task is not None
    ending = asyncio.Event()

    def end() -> None:
        # Once only: a second signal must not interrupt the clearing up.
        if not ending.is_set():
            ending.set()
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        async with AsyncExitStack() as stack:
            with Console(stderr=True).status("Starting the model…"):
                backends = await _start_backends(plan, stack)
            await _answer(plan, backends, listener=listener, engine=engine)
    except asyncio.CancelledError:
        if not ending.is_set():
            raise


async def _start_backends(plan: _Plan, stack: AsyncExitStack) -> _Backends:
    if plan.backend == "local":
        settings = plan.settings.fallback.model_copy(update={"mode": "warm"})
        worker = await _start_worker(plan, stack, settings=settings)
        await worker.wait_until_warm(timeout_seconds=_LOAD_TIMEOUT_SECONDS)
        return _Backends(worker, None, _worker_gauges(worker), "local worker")
    fallback = None
    if plan.settings.fallback.mode != "off":
        # Begins to load; Triton loads at the same time.
        fallback = await _start_worker(plan, stack, settings=plan.settings.fallback)
    primary, gauges, where = await _start_triton(plan, stack)
    if fallback is not None and plan.settings.fallback.mode == "warm":
        await fallback.wait_until_warm(timeout_seconds=_LOAD_TIMEOUT_SECONDS)
    gauges = {**gauges, **(_worker_gauges(fallback) if fallback else {})}
    state = fallback.state if fallback else "off"
    return _Backends(primary, fallback, gauges, f"triton {where}; fallback {state}")


async def _start_worker(plan: _Plan, stack: AsyncExitStack, *, settings: FallbackSettings) -> FallbackBackend:
    log_path = plan.data.root / "logs" / "fallback.log"
    worker = FallbackBackend(
        plan.bundle, bundle_sha256=plan.version.bundle_sha256, settings=settings, log_path=log_path
    )
    stack.push_async_callback(worker.stop)
    await worker.start()
    return worker


def _worker_gauges(worker: FallbackBackend) -> Gauges:
    return {
        "worker_restarts": ("Times the worker process was started again.", lambda: worker.num_restarts),
        "worker_waiting": ("Requests that wait for the worker process.", lambda: worker.num_waiting),
    }


async def _start_triton(plan: _Plan, stack: AsyncExitStack) -> tuple[Backend, Gauges, str]:
    # Late: these need the extra chartloop[triton], which a local worker does without.
    from serving.triton.client import TritonBackend
    from serving.triton.config import clinical_coder_config
    from serving.triton.repository import render_repository
    from serving.triton.server import TritonServer

    # A bundle that is served from its path has no number; any will do.
    number = plan.version.number or 1
    if plan.triton_url is not None:
        labels = read_labels(plan.bundle)
        external = TritonBackend(
            plan.triton_url, version=number, labels=labels, bundle_sha256=plan.version.bundle_sha256
        )
        stack.push_async_callback(external.close)
        await external.check(timeout_seconds=plan.settings.gateway.deadline_seconds)
        return external, {}, plan.triton_url
    chosen = plan.settings.triton
    config = clinical_coder_config(
        versions=(number,),
        device=chosen.device,
        gpus=chosen.gpus,
        max_batch_size=chosen.max_batch_size,
        max_num_threads=chosen.max_num_threads,
        dynamic_batching=chosen.dynamic_batching,
    )
    render_repository(plan.data.model_repository, bundle=plan.bundle, number=number, config=config)
    grpc_port, metrics_port = choose_ports(plan.triton_ports)
    server = TritonServer(
        plan.data.model_repository,
        number=number,
        data_dir=plan.data.root,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        start_timeout_seconds=chosen.start_timeout_seconds,
    )
    stack.push_async_callback(server.stop)
    await server.start()
    supervision = asyncio.create_task(server.supervise(), name="triton-supervision")
    stack.callback(supervision.cancel)
    gauges: Gauges = {"triton_restarts": ("Times Triton was started again.", lambda: server.num_restarts)}
    return server.backend, gauges, f"{HOST}:{grpc_port}"


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again at its end, before Triton has ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _answer(plan: _Plan, backends: _Backends, *, listener: socket.socket, engine: Engine) -> None:
    """Run the gateway until cancelled, then let requests in flight finish."""
    server = _Server(_configure(_gateway(plan, backends, engine=engine)))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="gateway")
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            _say_ready(plan.version, port=listener.getsockname()[1], description=backends.description)
        await asyncio.wait({serving})
    finally:
        server.should_exit = True
        await serving


def _gateway(plan: _Plan, backends: _Backends, *, engine: Engine) -> FastAPI:
    return create_app(
        plan.settings.gateway,
        primary=backends.primary,
        fallback=backends.fallback,
        labels=read_labels(plan.bundle),
        version=plan.version,
        engine=engine,
        routing=plan.routing,
        gauges=backends.gauges,
    )


def _configure(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


def _say_ready(version: VersionName, *, port: int, description: str) -> None:
    known = f"version {version.number}" if version.number else f"bundle {version.bundle_sha256[:12]}"
    name = f"{known}, {version.alias}" if version.alias else known
    line = f"ready: http://{HOST}:{port} ({name}; {description})"
    Console().print(line, soft_wrap=True, markup=False, highlight=False)
