"""The command as a person gives it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scripts.chartloop import main


@dataclass(frozen=True)
class Told:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.out.splitlines()[-1])


Chartloop = Callable[..., Told]


@pytest.fixture
def chartloop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chartloop:
    """Run the whole command in this process, errors shown as people see them."""

    def run(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["chartloop", *map(str, arguments)])
        # Wide enough that no line of a table or an error is broken.
        monkeypatch.setenv("COLUMNS", "400")
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Told(code or 0, printed.out, printed.err)

    return run
