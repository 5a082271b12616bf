"""Who takes part in a simulation: coders and supervisors with stated rates, every value of ``configs/simulation.yaml``.

Rates are shares of 0 to 1. The module knows neither suggestions nor the ledger.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import CodeSystem, normalise_code
from clinical_coding.settings_file import load_settings

__all__ = ["Habit", "SimulatedCoder", "SimulatedSupervisor", "SimulationSettings", "load_simulation"]

Rate = Annotated[float, Field(ge=0, le=1)]
# The prefix keeps a simulation from ever acting as a principal who is a person.
Name = Annotated[str, Field(pattern=r"^sim-[a-z0-9-]{1,60}$")]


class Habit(Artefact):
    """One systematic error: wherever ``code`` belongs or stands, the coder puts ``to``, or nothing."""

    system: CodeSystem
    code: str
    to: str | None = None
    """The wrong code of the same system; null leaves the code out."""

    @model_validator(mode="after")
    def _two_codes(self) -> Self:
        for code in filter(None, (self.code, self.to)):
            normalise_code(self.system, code)
        if self.code == self.to:
            raise ValueError(f"to must differ from code, but both are {self.code}; a habit replaces or drops a code")
        return self

    @property
    def key(self) -> str:
        """The label key that is replaced or dropped."""
        return f"{self.system}:{self.code}"

    @property
    def to_key(self) -> str | None:
        """The label key that takes its place."""
        return None if self.to is None else f"{self.system}:{self.to}"


class SimulatedCoder(Artefact):
    """A coder whose errors are stated."""

    name: Name
    miss_rate: Rate
    """Share of a suggestion's errors, wrong codes and missing ones, that the coder does not notice."""
    false_override_rate: Rate
    """Share of the right suggested codes that the coder rejects or replaces."""
    habit: Habit | None = None
    """Applied every time, whatever the rates."""


class SimulatedSupervisor(Artefact):
    """A supervisor who knows the truth and states it with an accuracy."""

    name: Name
    accuracy: Rate
    """Share of verdicts that are right."""
    weekly_capacity: Annotated[int, Field(ge=0)]
    """Cases a week."""


class SimulationSettings(Artefact):
    """The staff and the pace of a simulation."""

    encounters_a_week: Annotated[int, Field(ge=1)]
    coders: Annotated[tuple[SimulatedCoder, ...], Field(min_length=1)]
    """Encounters go to them at random, to each as often."""
    supervisors: Annotated[tuple[SimulatedSupervisor, ...], Field(min_length=1)]
    """They take turns at the queue."""

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [coder.name for coder in self.coders] + [supervisor.name for supervisor in self.supervisors]
        if len(set(names)) != len(names):
            raise ValueError("names of coders and supervisors must be distinct; each is a principal of its own")
        return self

    def habit_keys(self) -> frozenset[str]:
        """Label keys on either side of a habit."""
        habits = [coder.habit for coder in self.coders if coder.habit is not None]
        return frozenset(key for habit in habits for key in (habit.key, habit.to_key) if key is not None)


def load_simulation(path: Path) -> SimulationSettings:
    """Read a simulation's staff and pace.

    Raises:
        ValueError: The file is missing, is no YAML, or a field is wrong; the message names it.
    """
    return load_settings(path, SimulationSettings)
