"""Every expression of dashboard, alerts and scaling is PromQL, and every metric in it is told by somebody."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from starlette.testclient import TestClient

from serving.fallback.settings import FallbackSettings
from serving.workers import Workers

ROOT = Path(__file__).parents[3]
# Told by Triton 2.51 at its metrics port, by Prometheus and by kube-state-metrics.
OTHERS = {"nv_inference_pending_request_count", "nv_gpu_utilization", "up", "kube_job_status_failed"}
# Told by ``serve`` and the hosts, which are not begun here.
SERVED = {"chartloop_triton_restarts": "serving/hosts.py", "chartloop_data_free_bytes": "serving/serve.py"}


def expressions() -> Iterator[str]:
    for panel in json.loads((ROOT / "deploy" / "grafana" / "chartloop.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    yield from (rule["expr"] for group in groups for rule in group["rules"])
    scaling = (ROOT / "deploy" / "helm" / "chartloop" / "templates" / "scaling.yaml").read_text()
    [query] = re.findall(r"query: (.+)", scaling)
    yield query.replace("{{ .Release.Namespace }}", "hospital")


def metrics_of(node: Any) -> set[str]:
    """The metrics that a parsed expression reads."""
    if isinstance(node, promql_parser.VectorSelector):
        return {node.name}
    if isinstance(node, promql_parser.MatrixSelector):
        return metrics_of(node.vector_selector)
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param")]
    children += list(getattr(node, "args", None) or [])
    return {name for child in children if child is not None for name in metrics_of(child)}


def told(gateway: TestClient, log_path: Path) -> set[str]:
    """Every metric of ours, as Prometheus stores it."""
    names = {f"chartloop_{name}" for name in Workers(FallbackSettings(), log_path=log_path).gauges()}
    for line in gateway.get("/metrics").text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    for name, source in SERVED.items():
        assert f'"{name.removeprefix("chartloop_")}"' in (ROOT / source).read_text()
        names.add(name)
    # Registered inside of Triton.
    model = (ROOT / "serving" / "triton" / "model_metrics.py").read_text()
    return names | {f"chartloop_model_{name}_total" for name in re.findall(r'_counter\("([a-z_]+)"', model)}


def test_every_metric_is_told_by_somebody(gateway: TestClient, tmp_path: Path) -> None:
    known = told(gateway, tmp_path / "worker.log") | OTHERS
    asked = set[str]()
    for expression in expressions():
        found = metrics_of(promql_parser.parse(expression))
        assert found, expression
        assert found <= known, expression
        asked |= found
    assert len(asked) > 30
