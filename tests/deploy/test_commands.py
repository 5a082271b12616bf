"""Every command of ours that deployment files and documents name is one that there is, with options that it takes."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from scripts.chartloop import app

ROOT = Path(__file__).parents[2]
FILES = [
    *("deploy/compose.yaml", "deploy/helm/chartloop/templates/deployment.yaml"),
    *("deploy/helm/chartloop/templates/audit.yaml", "deploy/systemd/chartloop.service"),
    *("deploy/systemd/chartloop-audit.service", "docs/deploy.md"),
]


def commands(text: str) -> list[list[str]]:
    """Commands of shell blocks and of prose; lines that are folded in YAML are joined."""
    joined = re.sub(r"\n\s+--", " --", text)
    found = re.findall(r"(?:^|[\s\"'/`])chartloop ([a-z]+(?: [^\n`']*)?)", joined)
    return [re.sub(r"[\"();,]", " ", one.split(" #")[0]).split() for one in found]


def argument_lists(text: str) -> list[list[str]]:
    """Arguments of our containers in the chart."""
    lists = [re.split(r",\s*", one) for one in re.findall(r"args: \[(.+)\]", text)]
    if block := re.search(r"- serve\n((?:\s+(?:- --|#).*\n)+)", text):
        lists.append(["serve", *re.findall(r"- (--\S+)", block[1])])
    return lists


def lookup(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("file", FILES)
def test_options_exist(file: str) -> None:
    text = (ROOT / file).read_text()
    found = argument_lists(text) if "helm" in file else commands(text)
    root, _ = lookup([])
    named = [words for words in found if words[0] in root.commands]
    assert named
    for words in named:
        command, rest = lookup(words)
        if "watch" in words:
            assert command.name == "watch"
        taken = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        options = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert options <= taken | {"--help"}, " ".join(words)
