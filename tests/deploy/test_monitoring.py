"""Dashboard and alerts, as far as they stand alone; that their metrics exist is told in the gateway's tests."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "chartloop.json").read_text())
    return loaded


def alerts() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def test_every_alert_is_tried_and_says_whom_it_wakes() -> None:
    rules = alerts()
    tests = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts_test.yaml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules}
    assert all(rule["labels"]["severity"] in ("page", "ticket") for rule in rules)
    text = (ROOT / "docs" / "observability.md").read_text()
    for rule in rules:
        assert f"`{rule['alert']}`" in text, "what to do is written down"


def test_promtool_agrees() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Debian's package prometheus, is not installed")
    folder = ROOT / "deploy" / "prometheus"
    for arguments in (
        ["check", "rules", "alerts.yaml"],
        ["check", "config", "--syntax-only", "prometheus.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ):
        result = subprocess.run(
            [promtool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_panels_do_not_overlap_and_ids_are_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        cells |= covered
