"""Commands of stages 6 to 8: serve a version, ask it for suggestions, answer them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scripts.answer_rules import (
    DEFAULT_POLICY,
    DEFAULT_QUERIES,
    DEFAULT_ROUTING,
    NecessityFile,
    PolicyFile,
    QueriesFile,
    RoutingFile,
    load_rules,
)
from scripts.answered_lines import write_answers
from scripts.deciding import decide, local_key
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json
from scripts.serving_watch import watch

__all__ = ["add_to"]


class BackendChoice(StrEnum):
    """Who runs the model."""

    TRITON = "triton"
    LOCAL = "local"


def add_to(app: typer.Typer) -> None:
    """Put the commands on the root."""
    serving = typer.Typer()
    serving.callback(invoke_without_command=True)(serve)
    serving.command()(watch)
    app.add_typer(serving, name="serve")
    app.command()(suggest)
    app.command()(decide)


def serve(
    context: typer.Context,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            help="champion, candidate, a number, or a bundle's folder; default: whoever is champion, followed hot.",
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Of the gateway.")] = 8080,
    host: Annotated[
        str, typer.Option("--host", help="Of the gateway; beyond this machine only with TLS or --behind-tls-proxy.")
    ] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="Chain of certificates (PEM): speak TLS, 1.2 or newer.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Key of the certificate (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option("--tls-client-ca", help="Who must have signed each client's certificate (PEM).")
    ] = None,
    behind_tls_proxy: Annotated[
        bool, typer.Option("--behind-tls-proxy", help="A proxy in front of the gateway encrypts.")
    ] = False,
    triton_grpc_port: Annotated[int, typer.Option("--triton-grpc-port", help="Of the Triton that is started.")] = 8001,
    triton_metrics_port: Annotated[int, typer.Option("--triton-metrics-port", help="Of that Triton's metrics.")] = 8002,
    backend: Annotated[
        BackendChoice, typer.Option("--backend", help="triton, or local for the fallback worker alone.")
    ] = BackendChoice.TRITON,
    triton_url: Annotated[
        str | None,
        typer.Option(
            "--triton-url", help="host:port of a Triton that runs elsewhere; TLS: see triton.tls in --config."
        ),
    ] = None,
    config: Annotated[Path, typer.Option("--config", help="Gateway, fallback and Triton settings.")] = (
        CONFIGS / "serving.yaml"
    ),
    routing: RoutingFile = DEFAULT_ROUTING,
    policy: PolicyFile = DEFAULT_POLICY,
    queries: QueriesFile = DEFAULT_QUERIES,
    necessity: NecessityFile = None,
    feedback: Annotated[Path, typer.Option("--feedback", help="Shares drawn for audit, claims, the queue.")] = (
        CONFIGS / "feedback.yaml"
    ),
    reasons: Annotated[Path, typer.Option("--reasons", help="The reasons that coders can give.")] = (
        CONFIGS / "reasons.yaml"
    ),
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Serve a version: Triton, the standby worker, and the gateway; one line says ready.

    Takes the champion, else the candidate, and follows promotions and rollbacks without a failed
    request; a version that is named stays. Example: [bold]chartloop serve --port 8080[/bold], then
    [bold]chartloop suggest FILE[/bold] in another terminal. Ctrl-C ends everything.
    """
    if context.invoked_subcommand is not None:
        return

    from feedback.settings import load_feedback, load_reasons
    from governance.promotion import reconcile, resolve_champion
    from governance.versions import resolve_default, resolve_version
    from ledger.engine import ledger
    from serving.listening import Listening
    from serving.serve import serve as run
    from serving.settings import load_serving

    settings = load_serving(config)
    rules = load_rules(data_dir, routing=routing, policy=policy, queries=queries, necessity=necessity)
    gathering, known_reasons = load_feedback(feedback), load_reasons(reasons)
    if version is None:
        with ledger(data_dir, url=database_url) as engine:
            # The alias may lag behind the ledger, which is right.
            champion = reconcile(engine, data_dir=data_dir)
        if champion is not None:
            resolved = resolve_champion(champion, data_dir=data_dir)
        else:
            resolved = resolve_default(data_dir=data_dir)
    else:
        resolved = resolve_version(version, data_dir=data_dir)
    run(
        resolved.folder,
        version=resolved.version,
        data_dir=data_dir,
        settings=settings,
        rules=rules,
        feedback=gathering,
        reasons=known_reasons,
        follows_champion=version is None,
        port=port,
        listening=Listening(
            host=host,
            certificate=tls_certificate,
            key=tls_key,
            client_ca=tls_client_ca,
            is_behind_tls_proxy=behind_tls_proxy,
        ),
        backend=backend.value,
        triton_url=triton_url,
        triton_grpc_port=triton_grpc_port,
        triton_metrics_port=triton_metrics_port,
        database_url=database_url,
    )


def suggest(
    file: Annotated[
        Path,
        typer.Argument(
            help="A suggestion request or coded record as JSON, or a note as plain text; with --bulk one JSON a line."
        ),
    ],
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Many requests, one a line; answers go to standard output, one a line.")
    ] = False,
    url: Annotated[str, typer.Option("--url", help="The gateway.")] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None, typer.Option("--key", envvar="CHARTLOOP_KEY", help="Your key; default: the local one.")
    ] = None,
    setting: Annotated[str, typer.Option("--setting", help="Of a plain-text note.")] = "outpatient",
    specialty: Annotated[str, typer.Option("--specialty", help="Of a plain-text note.")] = "family-medicine",
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Ask the gateway for codes, and show the note with the evidence for each in colour.

    Example: [bold]chartloop suggest note.txt --setting emergency --specialty emergency-medicine[/bold], or
    [bold]chartloop suggest night.jsonl --bulk > answers.jsonl[/bold], which exits with 1 when one was refused.
    """
    from serving.client import Client
    from serving.highlight import render
    from serving.request_file import read_request, read_requests

    if bulk:
        with Client(url, local_key(key, data_dir=data_dir)) as client:
            num_failed = write_answers(client.suggest_many(read_requests(file)))
        raise typer.Exit(1 if num_failed else 0)
    request = read_request(file, setting=setting, specialty=specialty)
    with Client(url, local_key(key, data_dir=data_dir)) as client:
        suggestion = client.suggest(request)
    if as_json:
        print_json(suggestion.model_dump(mode="json"))
    else:
        Console().print(render(request.notes, suggestion))
