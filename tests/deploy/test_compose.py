"""The compose file: what it names exists, nothing is open, no password is written down."""

import json
import re
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from serving.settings import load_serving

PORT = re.compile(r"(127\.0\.0\.1:)?(\d+):\d+")


@pytest.fixture(scope="module")
def compose(deploy: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())
    return loaded


def test_it_fits_the_specification(compose: dict[str, Any]) -> None:
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    jsonschema.validate(compose, json.loads((folder / "compose-spec.json").read_text()))


def test_every_file_that_is_mounted_exists(compose: dict[str, Any], deploy: Path) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    files = [mount.split(":/")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) >= 6
    for device in ("cpu", "gpu"):
        for file in files:
            assert (deploy / file.replace("${CHARTLOOP_DEVICE:-cpu}", device)).is_file()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_settings_are_read_as_the_gateway_reads_them(device: str, deploy: Path) -> None:
    settings = load_serving(deploy / f"serving-{device}.yaml")
    assert (settings.triton.device, settings.fallback.mode) == (device, "off")


def test_every_name_is_declared(compose: dict[str, Any], deploy: Path) -> None:
    used: dict[str, set[str]] = {"networks": set(), "secrets": set(), "volumes": set()}
    for service in compose["services"].values():
        used["networks"] |= set(service["networks"])
        used["secrets"] |= set(service.get("secrets", []))
        sources = [mount.split(":")[0] for mount in service.get("volumes", [])]
        used["volumes"] |= {source for source in sources if re.fullmatch(r"[a-z]+", source)}
        assert set(service.get("depends_on", {})) <= compose["services"].keys()
        if "build" in service:
            assert (deploy.parent / service["build"]["dockerfile"]).is_file()
    assert used == {kind: set(compose[kind]) for kind in used}


def test_only_the_proxy_is_reached_from_outside(compose: dict[str, Any]) -> None:
    services = compose["services"]
    published = {(name, port) for name, service in services.items() for port in service.get("ports", [])}
    outside = {name for name, port in published if not port.startswith("127.0.0.1:")}
    assert outside == {"proxy"}
    assert all(PORT.fullmatch(port) for _, port in published)
    internal = {name for name, network in compose["networks"].items() if network.get("internal")}
    for name in ("triton", "triton-cpu", "watch", "postgres", "mlflow", "prometheus", "training"):
        assert set(services[name]["networks"]) <= internal


def test_secrets_come_from_files_and_nothing_may_more_than_it_needs(compose: dict[str, Any]) -> None:
    assert all("file" in secret for secret in compose["secrets"].values())
    for name, service in compose["services"].items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert "no-new-privileges:true" in service["security_opt"]
        for variable, value in (service.get("environment") or {}).items():
            if "PASSWORD" in variable:
                assert variable.endswith("FILE"), name
                assert value.startswith("/run/secrets/")


def test_both_kinds_of_triton_answer_to_one_name(compose: dict[str, Any]) -> None:
    for name in ("triton", "triton-cpu"):
        service = compose["services"][name]
        assert service["networks"]["model"]["aliases"] == ["triton"]
        assert len(service["profiles"]) == 1
