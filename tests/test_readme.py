"""The README tells the truth: its commands exist, its links lead somewhere, its figures are those on file."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from scripts.chartloop import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("chartloop ")
]
FIGURES = re.findall(r"^\| [^|]+ \| ([\d.,]+)[^|]* \| \[\w+\]\(([^)]+)\) `([^`]+)`", README, flags=re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    command, arguments = typer.main.get_command(app), shlex.split(line)[1:]
    # ``serve`` does something by itself, and has commands.
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]
    assert not hasattr(command, "commands") or command.invoke_without_command, line
    # Parsing alone: a wrong option, argument or choice is refused here.
    context = command.make_context(command.name, arguments)
    for name in ("config", "routing", "policy", "queries"):
        assert (
            context.params.get(name) is None
            or Path(context.params[name]).is_relative_to(ROOT / "configs")
            or (ROOT / context.params[name]).is_file()
        )


def test_there_are_commands_and_figures_to_test() -> None:
    assert len(COMMANDS) >= 7
    assert len(FIGURES) >= 8


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(("figure", "path", "metric"), FIGURES)
def test_figures_are_those_on_file(figure: str, path: str, metric: str) -> None:
    rows = {row["metric"]: row for row in json.loads((ROOT / path).read_text())["rows"]}
    name, _, field = metric.partition(".")
    stated, decimals = float(figure.replace(",", "")), len(figure.partition(".")[2])
    assert stated == pytest.approx(rows[name][field or "value"], abs=0.5 * 10**-decimals + 1e-9)
