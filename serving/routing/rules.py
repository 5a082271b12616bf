"""The routing policy: confidence thresholds, rules and a watch list, each line with its reason and dates.

``configs/routing.yaml`` holds one. What a rule sends to a person cannot be outweighed by another: the most
cautious route is taken. A rule is in force on the day of routing, not of care, since it says who works how now.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clinical_coding.records import Encounter, Setting
from clinical_coding.suggestions import RouteDecision
from serving.routing.conditions import Condition

__all__ = ["DEFAULT_THRESHOLDS", "RoutingRule", "RoutingRules", "Thresholds", "WatchLine"]

Confidence = Annotated[float, Field(ge=0, le=1)]
Reason = Annotated[str, Field(min_length=10)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class _Dated(_Line):
    reason: Reason
    """Why: shown to people, and to auditors."""
    effective_from: date | None = None
    """First day; null for always."""
    effective_to: date | None = None
    """Last day; null for no end."""

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.effective_from and self.effective_to and self.effective_to < self.effective_from:
            raise ValueError(
                f"effective_to {self.effective_to} must not be before effective_from {self.effective_from}"
            )
        return self

    def is_in_force(self, on: date) -> bool:
        """Whether it holds on a day."""
        return (self.effective_from is None or self.effective_from <= on) and (
            self.effective_to is None or on <= self.effective_to
        )


class Thresholds(_Line):
    """Record confidence from which the model may code alone, or help."""

    setting: Setting | None = None
    """Null for every setting."""
    specialty: str | None = None
    """Null for every specialty."""
    autonomous_from: Confidence
    """Record confidence from which no coder need look."""
    assisted_from: Confidence
    """Record confidence from which the codes help a coder; below, they are withheld."""
    reason: Reason

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.assisted_from > self.autonomous_from:
            raise ValueError(
                f"assisted_from {self.assisted_from} must not exceed autonomous_from {self.autonomous_from}; lower it"
            )
        return self

    @property
    def precision(self) -> tuple[bool, bool]:
        """How closely it fits: one of a specialty before one of a setting before one for all."""
        return self.specialty is not None, self.setting is not None

    def fits(self, encounter: Encounter) -> bool:
        """Whether it is meant for an encounter."""
        return self.setting in (None, encounter.setting) and self.specialty in (None, encounter.specialty)


DEFAULT_THRESHOLDS = Thresholds(autonomous_from=0.95, assisted_from=0.1, reason="Where the policy states none.")


class RoutingRule(_Dated):
    """When its condition holds, at least this route is taken."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    """Told in the answer."""
    route: Literal[RouteDecision.ASSISTED, RouteDecision.MANUAL]
    when: Condition


class WatchLine(_Dated):
    """A provider or a payer whose encounters a person codes for a while."""

    provider_id: str | None = None
    payer: str | None = None
    route: Literal[RouteDecision.ASSISTED, RouteDecision.MANUAL] = RouteDecision.ASSISTED

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.provider_id is None) == (self.payer is None):
            raise ValueError("a line of the watch list names either provider_id or payer")
        return self

    @property
    def name(self) -> str:
        """Of the rule that the answer tells; never whom it is about."""
        return "provider-on-watch-list" if self.provider_id is not None else "payer-on-watch-list"

    def fits(self, encounter: Encounter) -> bool:
        """Whether an encounter is of this provider or payer."""
        return (self.provider_id or self.payer) == (
            encounter.provider_id if self.provider_id is not None else encounter.payer
        )


class RoutingRules(_Line):
    """The whole policy."""

    changed_within_days: Annotated[int, Field(ge=0)] = 90
    """Codes that a release changed within so many days count as changed."""
    thresholds: tuple[Thresholds, ...] = (DEFAULT_THRESHOLDS,)
    """The line that fits most closely holds."""
    rules: tuple[RoutingRule, ...] = ()
    watch_list: tuple[WatchLine, ...] = ()

    @model_validator(mode="after")
    def _lines_differ(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"rules must have distinct names; {', '.join(sorted(twice))} repeats")
        places = [(line.setting, line.specialty) for line in self.thresholds]
        if len(set(places)) != len(places):
            raise ValueError("thresholds must differ in setting or specialty; merge the lines that do not")
        return self

    def thresholds_of(self, encounter: Encounter) -> Thresholds:
        """The thresholds that hold for an encounter."""
        fitting = (line for line in self.thresholds if line.fits(encounter))
        return max(fitting, key=lambda line: line.precision, default=DEFAULT_THRESHOLDS)

    def in_force(self, on: date) -> Iterator[RoutingRule]:
        """The rules that hold on a day, in their order."""
        return (rule for rule in self.rules if rule.is_in_force(on))

    def phrases(self) -> frozenset[str]:
        """Every phrase that a rule looks for."""
        return frozenset(phrase for rule in self.rules for phrase in rule.when.phrases or ())
