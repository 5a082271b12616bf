"""``chartloop serve``: one process that owns the gateway, the embedded Triton and the fallback (stages 6, 7).

Composition only: what each part does is told in its own module. Everything that is started is
ended, in the reverse order, whether the end is a signal or a failure half-way.
"""

import asyncio
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import structlog
import uvicorn
from rich.console import Console
from sqlalchemy import Engine

from clinical_coding.data_directory import DataDirectory
from clinical_coding.suggestions import VersionName
from feedback.settings import FeedbackSettings, ReasonCodes
from governance.versions import ResolvedVersion
from ledger.engine import ledger
from ledger.local_key import LOCAL_KEY_FILE, ensure_local_key
from serving.backends import BackendError
from serving.claims import claim_data_directory, claim_port
from serving.following import Follower, check_reach, describe_version, join_version
from serving.gateway.active import ActiveVersion
from serving.gateway.app import Gauges, create_app
from serving.gateway.reviewing import warm
from serving.gateway.rules import AnswerRules
from serving.hosts import EmbeddedTriton, ExternalTriton, Host, LocalHost, OpenVersion, TritonHost
from serving.listening import Listening
from serving.logs import configure_logs
from serving.settings import ServingSettings
from serving.tracing import make_provider, tracing
from serving.workers import Workers

__all__ = ["serve"]

_DRAIN_SECONDS: Final = 10
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    first: ResolvedVersion
    follows_champion: bool
    data: DataDirectory
    settings: ServingSettings
    rules: AnswerRules
    feedback: FeedbackSettings
    reasons: ReasonCodes
    backend: Literal["triton", "local"]
    triton_url: str | None
    triton_ports: tuple[int, int]
    """Of gRPC and of Triton's own metrics."""
    listening: Listening


def serve(
    bundle: Path,
    *,
    version: VersionName,
    data_dir: Path,
    settings: ServingSettings,
    rules: AnswerRules,
    feedback: FeedbackSettings,
    reasons: ReasonCodes,
    follows_champion: bool = False,
    port: int = 8080,
    listening: Listening | None = None,
    backend: Literal["triton", "local"] = "triton",
    triton_url: str | None = None,
    triton_grpc_port: int = 8001,
    triton_metrics_port: int = 8002,
    database_url: str | None = None,
) -> None:
    """Serve a version until SIGTERM or SIGINT; return when everything has ended.

    Prints one line on standard output, ``ready: URL (…)``, once a suggestion would be answered, and
    ``serving: version 2, champion (bundle …)`` each time another one has taken its place.
    At first start ``<data_dir>/keys/local.key`` gets the key of a coder named ``local``.

    Args:
        bundle: The version's bundle folder.
        version: Its name, as ``governance.versions`` resolved it.
        data_dir: Database, keys, logs and model repository live here; one server at a time.
        settings: Gateway, fallback and Triton.
        rules: Coding rules, queries and thresholds of the route.
        feedback: How feedback is gathered.
        reasons: The reasons that coders can give.
        follows_champion: Serve whoever becomes champion, hot. On another's Triton it takes the version's
            place once it answers there, under its number; whoever runs that Triton loads and drops versions.
        port: Of the gateway; 0 takes a free one.
        listening: Address and TLS of the gateway; loopback without TLS when None.
        backend: ``triton``, or ``local`` for the worker process alone.
        triton_url: ``host:port`` of a Triton that somebody else runs; none is started then. Without
            ``triton.tls`` it must be on this machine or on a network that may see notes.
        triton_grpc_port: Of the embedded Triton; 0 takes a free one.
        triton_metrics_port: Of the embedded Triton's own metrics; 0 takes a free one.
        database_url: PostgreSQL, or SQLite elsewhere; ``<data_dir>/chartloop.db`` when None.

    Raises:
        ValueError: The data directory is being served, a port is in use, a file is damaged, the version
            reads less than the gateway accepts, the database cannot be reached, or the model cannot
            start; the message says where to look.
    """
    data = DataDirectory.locate(data_dir)
    check_reach(bundle, settings=settings)
    plan = _Plan(
        ResolvedVersion(version, bundle),
        follows_champion,
        data,
        settings,
        rules,
        feedback,
        reasons,
        backend,
        triton_url,
        (triton_grpc_port, triton_metrics_port),
        listening or Listening(),
    )
    plan.listening.check()
    if triton_url is not None and settings.triton.tls is not None:
        settings.triton.tls.check()
    with claim_data_directory(data), claim_port(port, host=plan.listening.host) as listener:
        configure_logs()
        with ledger(data.root, url=database_url) as engine:
            if not ensure_local_key(engine, data.keys / LOCAL_KEY_FILE):
                _log.warning("local-key-revoked")
            observability = settings.observability
            traces = make_provider(otlp_endpoint=observability.otlp_endpoint, sample_share=observability.sample_share)
            try:
                with tracing(traces):
                    asyncio.run(_run(plan, listener=listener, engine=engine))
            except BackendError as error:
                remedy = (
                    f"see the logs below {data.root}" if triton_url is None else f"check the Triton at {triton_url}"
                )
                raise ValueError(f"version cannot be served: {error}; {remedy}") from None


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
            host = _host(plan)
            stack.push_async_callback(host.stop)
            with Console(stderr=True).status("Starting the model…"):
                opened, _ = await asyncio.gather(host.open(plan.first), asyncio.to_thread(warm, plan.rules))
            await _answer(plan, opened, host=host, listener=listener, engine=engine)
    except asyncio.CancelledError:
        if not ending.is_set():
            raise


def _host(plan: _Plan) -> Host:
    chosen = plan.settings.fallback
    log_path = plan.data.root / "logs" / "fallback.log"
    if plan.backend == "local":
        return LocalHost(Workers(chosen.model_copy(update={"mode": "warm"}), log_path=log_path))
    triton: EmbeddedTriton | ExternalTriton
    if plan.triton_url is not None:
        triton = ExternalTriton(
            plan.triton_url,
            timeout_seconds=plan.settings.gateway.deadline_seconds,
            tls=plan.settings.triton.tls,
        )
    else:
        triton = EmbeddedTriton(
            plan.settings.triton,
            repository=plan.data.model_repository,
            data_dir=plan.data.root,
            ports=plan.triton_ports,
        )
    workers = None if chosen.mode == "off" else Workers(chosen, log_path=log_path)
    return TritonHost(triton, workers=workers, waits_for_worker=chosen.mode == "warm")


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again at its end, before Triton has ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _answer(plan: _Plan, opened: OpenVersion, *, host: Host, listener: socket.socket, engine: Engine) -> None:
    """Run the gateway until cancelled, then let requests in flight finish."""
    active = ActiveVersion(join_version(opened, settings=plan.settings, rules=plan.rules))
    app = create_app(
        plan.settings.gateway,
        active=active,
        engine=engine,
        feedback=plan.feedback,
        reasons=plan.reasons,
        systems=plan.rules.systems,
        gauges={**host.gauges(), **_disk_gauge(plan.data)},
        ehr=plan.settings.ehr,
    )
    server = _Server(plan.listening.configure(app, timeout_graceful_shutdown=_DRAIN_SECONDS))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="gateway")
    following: asyncio.Task[None] | None = None
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            _say_ready(plan, port=listener.getsockname()[1], description=host.describe(opened))
        if plan.follows_champion:
            follower = Follower(
                active,
                opened=opened,
                host=host,
                engine=engine,
                data_dir=plan.data.root,
                settings=plan.settings,
                rules=plan.rules,
            )
            following = asyncio.create_task(follower.run(), name="following")
        await asyncio.wait({serving})
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait({following})
        active.is_draining = True
        await asyncio.sleep(plan.settings.gateway.drain_seconds)
        server.should_exit = True
        await serving


def _disk_gauge(data: DataDirectory) -> Gauges:
    return {"data_free_bytes": ("Bytes free below the data directory.", lambda: shutil.disk_usage(data.root).free)}


def _say_ready(plan: _Plan, *, port: int, description: str) -> None:
    url = f"{plan.listening.url_scheme}://{plan.listening.host}:{port}"
    line = f"ready: {url} ({describe_version(plan.first.version)}; {description})"
    Console().print(line, soft_wrap=True, markup=False, highlight=False)
