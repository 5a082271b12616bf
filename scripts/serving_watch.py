"""``chartloop serve watch``: keep a Triton that runs elsewhere at the champion."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.options import CONFIGS, DEFAULT_DATA_DIR, DatabaseUrl, DataDir

__all__ = ["watch"]


def watch(
    triton_url: Annotated[str, typer.Option("--triton-url", help="host:port of Triton's gRPC endpoint.")],
    repository: Annotated[Path, typer.Option("--repository", help="The model repository, which Triton reads too.")],
    config: Annotated[Path, typer.Option("--config", help="How Triton runs the model, and how often to look.")] = (
        CONFIGS / "serving.yaml"
    ),
    control_key: Annotated[
        str | None,
        typer.Option(
            "--control-key",
            envvar="CHARTLOOP_TRITON_CONTROL_KEY",
            help="What Triton asks of who loads models, where it was started with --grpc-restricted-protocol.",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Publish, load and try each champion in a Triton that was started with --model-control-mode=explicit.

    Gateways that serve with [bold]--triton-url[/bold] switch once it answers. Example: [bold]chartloop serve watch
    --triton-url triton:8001 --repository /models[/bold]. Ctrl-C ends it; Triton serves on.
    """
    from ledger.engine import ledger
    from serving.logs import configure_logs
    from serving.settings import load_serving
    from serving.watch import watch as run

    settings = load_serving(config)
    if settings.triton.tls is not None:
        settings.triton.tls.check()
    configure_logs()
    with ledger(data_dir, url=database_url) as engine:
        run(
            engine,
            data_dir=data_dir,
            repository=repository,
            url=triton_url,
            settings=settings,
            control_key=control_key,
            tls=settings.triton.tls,
        )
