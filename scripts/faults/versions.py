"""Versions that change under load: a sound one, a damaged one, and a gateway that is replaced by another."""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from clinical_coding.bundle import BUNDLE_FILE, Bundle, read_bundle
from clinical_coding.data_directory import DataDirectory
from clinical_coding.registered_version import MODEL_NAME, EvaluatedOn, VersionLineage

__all__ = ["promote", "promote_damaged", "register_copy", "replace"]

_FOLLOWED_SECONDS: Final = 60.0


def register_copy(data_dir: Path, bundle: Path, folder: Path, *, name: str) -> int:
    """Register a copy of a bundle, equal but for a remark in its index, as training would; gives its number."""
    from mlflow import MlflowClient

    copy = folder / name
    shutil.copytree(bundle, copy)
    index, _ = read_bundle(copy)
    changed = Bundle.model_validate(index.model_dump() | {"code_commit": name})
    (copy / BUNDLE_FILE).write_text(changed.model_dump_json())
    lineage = VersionLineage(
        bundle_sha256=read_bundle(copy)[1],
        manifest_sha256=index.manifest_sha256,
        base_model=f"{index.base_model.name}@{index.base_model.revision}",
        code_commit=None,
        evaluated_on=EvaluatedOn.DEV,
        metrics={},
    )
    directory = DataDirectory.locate(data_dir)
    client = MlflowClient(directory.tracking_uri, registry_uri=directory.tracking_uri)
    registered = client.create_model_version(MODEL_NAME, copy.resolve().as_uri(), tags=lineage.to_tags())
    return int(registered.version)


def promote(data_dir: Path, number: int) -> None:
    """Make a version the champion."""
    from governance.promotion import promote as move
    from ledger.engine import ledger
    from ledger.principals import Role, authenticate, create_key

    with ledger(data_dir, url=None) as engine:
        reviewer = authenticate(engine, create_key(engine, role=Role.REVIEWER, name=f"faults-{number}"))
        assert reviewer is not None
        move(engine, str(number), reason="a fault is tried", principal=reviewer, data_dir=data_dir)


async def promote_damaged(data_dir: Path, number: int, bundle: Path) -> float:
    """Promote a version, a file of which is changed before anybody loads it; gives the time of the harm."""
    await asyncio.sleep(2)
    harmed_at = time.monotonic()
    await asyncio.to_thread(promote, data_dir, number)
    weights = bundle / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.write_bytes(content)
    await asyncio.sleep(20)
    return harmed_at


async def replace(data_dir: Path, number: int, *, served: Callable[[], int | None]) -> float:
    """Promote a version and wait until it is served; gives the time of the promotion."""
    await asyncio.sleep(2)
    harmed_at = time.monotonic()
    await asyncio.to_thread(promote, data_dir, number)
    while time.monotonic() < harmed_at + _FOLLOWED_SECONDS:
        if await asyncio.to_thread(served) == number:
            break
        await asyncio.sleep(0.5)
    await asyncio.sleep(8)
    return harmed_at
