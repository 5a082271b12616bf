"""The chart, rendered by Helm itself and held against the schemas of Kubernetes' objects."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.settings import ServingSettings

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "chartloop"
KUBERNETES = "1.34"
# Of operators, whose schemas are not at hand.
CUSTOM = {"ScaledObject", "PodMonitor", "PrometheusRule"}
EVERYTHING: dict[str, Any] = {
    "gateway": {"fallback": "warm", "settings": {"gateway": {"deadline_seconds": 5.0}}},
    "postgres": {"enabled": True},
    "autoscaling": {"enabled": True},
    "ingress": {"enabled": True, "host": "codes.example.org"},
    "monitoring": {"enabled": True, "otlpEndpoint": "http://collector:4318"},
}
LITTLE: dict[str, Any] = {
    "triton": {"device": "cpu"},
    "mlflow": {"enabled": False, "url": "http://mlflow.example.org"},
    "networkPolicy": {"enabled": False},
}


# Helm is a library in Go, whose runtime takes over the signals of the process that it is loaded into.
HELM = """
import json, sys
from pathlib import Path
from helm_python import Chart
from helm_python.chart import lint
path, asked, values = Path(sys.argv[1]), sys.argv[2], json.load(sys.stdin)
if asked == "lint":
    answer = lint(path, values, strict=True)["errors"]
else:
    with Chart.load(path) as chart:
        answer = chart.render(values, name="codes", namespace="hospital")
json.dump(answer, sys.stdout)
"""


def ask_helm(asked: str, values: dict[str, Any]) -> Any:
    command = [sys.executable, "-c", HELM, str(CHART), asked]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def lint(values: dict[str, Any]) -> Any:
    return ask_helm("lint", values)


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    files = ask_helm("render", values)
    texts = [text for name, text in files.items() if not name.endswith(".txt")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="module")
def everything() -> list[dict[str, Any]]:
    return render(EVERYTHING)


def pod_specs(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in objects:
        spec = one.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            yield one["metadata"]["name"], template["spec"]


@pytest.mark.parametrize("values", [{}, EVERYTHING, LITTLE], ids=["default", "everything", "little"])
def test_helm_finds_nothing_and_every_object_fits_its_schema(values: dict[str, Any]) -> None:
    assert lint(values) == []
    objects = render(values)
    for one in objects:
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    kinds = [one["kind"] for one in objects]
    assert {"Deployment", "PodDisruptionBudget", "CronJob"} <= set(kinds)
    assert ("NetworkPolicy" in kinds) == (values is not LITTLE)


def test_wrong_values_are_refused() -> None:
    for values in ({"triton": {"device": "tpu"}}, {"database": {"existingSecret": ""}}):
        assert lint(values)


def test_nothing_runs_as_root_or_writes_into_its_image(everything: list[dict[str, Any]]) -> None:
    specs = dict(pod_specs(everything))
    assert specs.keys() == {"codes-gateway", "codes-mlflow", "codes-postgres", "codes-audit"}
    for spec in specs.values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            volumes = {volume["name"] for volume in spec.get("volumes", [])}
            assert mounted - volumes <= {"data"}, "a claim of the StatefulSet"


def test_a_new_pod_answers_before_an_old_one_leaves(everything: list[dict[str, Any]]) -> None:
    [deployment] = [
        one for one in everything if one["metadata"]["name"] == "codes-gateway" and one["kind"] == "Deployment"
    ]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment["spec"], "KEDA's to say"
    spec = deployment["spec"]["template"]["spec"]
    [gateway] = spec["containers"]
    assert [gateway[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")] == [
        "/startupz",
        "/livez",
        "/readyz",
    ]
    # They end after the gateway, which still needs them for its last requests.
    assert [(one["name"], one["restartPolicy"]) for one in spec["initContainers"]] == [
        ("triton", "Always"),
        ("watch", "Always"),
    ]
    triton = spec["initContainers"][0]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--grpc-address=127.0.0.1" in triton["args"]


def test_settings_are_what_the_gateway_reads(everything: list[dict[str, Any]]) -> None:
    [config] = [one for one in everything if one["metadata"]["name"] == "codes-settings"]
    settings = ServingSettings.model_validate(yaml.safe_load(config["data"]["serving.yaml"]))
    assert (settings.fallback.mode, settings.triton.device) == ("warm", "gpu")
    assert settings.gateway.deadline_seconds == 5.0
    assert settings.observability.otlp_endpoint == "http://collector:4318"


def test_alerts_go_along(everything: list[dict[str, Any]], deploy: Path) -> None:
    [rule] = [one for one in everything if one["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((deploy / "prometheus" / "alerts.yaml").read_text())


def test_no_secret_is_written_down(everything: list[dict[str, Any]]) -> None:
    assert not [one for one in everything if one["kind"] == "Secret"]
    for _, spec in pod_specs(everything):
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            for variable in container.get("env", []):
                if "URL" in variable["name"] or "STORE" in variable["name"]:
                    assert "secretKeyRef" in variable["valueFrom"]


def test_probes_and_metrics_stay_inside(everything: list[dict[str, Any]]) -> None:
    [ingress] = [one for one in everything if one["kind"] == "Ingress"]
    paths = {path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert "/v1" in paths
    assert not paths & {"/", "/metrics", "/readyz", "/livez"}
