"""What sample patients can have and what can be done for them, read from the YAML files beside this module.

Codes come from the data files; official descriptions and inclusion terms from the code library
are added to the synonyms given there. It knows nothing of patients, encounters and notes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Any, Final

import yaml

from clinical_coding.code_library import CodeLibrary, load_icd10cm
from clinical_coding.codes import CodeSystem
from clinical_coding.readers.sample.terms import official_terms
from clinical_coding.records import Setting

__all__ = ["Catalogue", "Condition", "Procedure", "Specialty", "load_catalogue", "split_list"]

SETTING_LETTERS: Final = {
    "O": Setting.OUTPATIENT,
    "E": Setting.EMERGENCY,
    "S": Setting.SAME_DAY_SURGERY,
    "I": Setting.INPATIENT,
}
SHARED_FILES: Final = frozenset({"common.yaml", "phrases.yaml", "procedures.yaml"})
SIDES: Final = {"1": "right", "2": "left", "3": "bilateral"}
CONDITION_FIELDS: Final = frozenset(
    "age and at chronic companion do drg external first group hx meds needs preventive say see sex sides status "
    "symptom variants with".split()
)
MARKED_ROLES: Final = ("status", "symptom", "external", "companion", "preventive", "chronic")
SECONDARY_ROLES: Final = frozenset({"status", "external", "companion"})
"""Roles of conditions that are never the reason for an encounter."""


# Compared by identity: the catalogue holds one of each, and comparing all fields would cost a tenth of the time.
@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A diagnosis with everything that a note may say of it."""

    code: str
    mentions: tuple[str, ...]
    """Ways to write it, the usual ones first."""
    num_usual: int
    """How many of the mentions are usual; the others are official terms."""
    group: str
    """No two conditions of one group stand on one record."""
    role: str
    """``acute``, ``chronic``, ``symptom``, ``preventive``, or one that never stands first: ``status``, ``external``,
    ``companion``."""
    settings: frozenset[Setting]
    ages: tuple[int, int]
    sex: str | None
    needs: str
    """A status stands only beside a code that begins so; empty where it needs none."""
    companions: tuple[str, ...]
    """Codes of which one comes along, by the instruction to use an additional code."""
    always: tuple[str, ...]
    """Codes that all come along."""
    underlying: tuple[str, ...]
    """Codes of which one goes before it, by the instruction to code the underlying disease first."""
    symptoms: tuple[str, ...]
    findings: tuple[str, ...]
    medications: tuple[str, ...]
    plans: tuple[str, ...]
    drgs: tuple[str, ...]
    """MS-DRG numbers with major, some and no complications, or fewer."""
    side: str
    """``right`` or ``left`` where the code says so, else empty."""

    def suits(self, age: int, sex: str) -> bool:
        """Tell whether a person of this age and sex can have it."""
        return self.ages[0] <= age <= self.ages[1] and self.sex in (None, sex)


@dataclass(frozen=True, slots=True)
class Procedure:
    """Something done or supplied, by CPT, HCPCS or ICD-10-PCS number."""

    system: CodeSystem
    code: str
    mentions: tuple[str, ...]
    specialties: frozenset[str]
    settings: frozenset[Setting]
    reasons: tuple[str, ...]
    """Beginnings of the ICD-10-CM codes that justify it; empty for any."""
    probability: float
    is_main: bool
    has_side: bool
    wording: str


@dataclass(frozen=True, slots=True)
class Specialty:
    """A service line: who comes, where, with what."""

    name: str
    ages: tuple[int, int]
    sex: str | None
    settings: tuple[Setting, ...]
    settings_cumulative: tuple[float, ...]
    num_providers: int
    takes_comorbidities: bool
    """False where the chapter of the principal diagnosis takes priority over common chronic codes."""
    conditions: tuple[Condition, ...]
    """Most frequent first."""
    operations: tuple[Procedure, ...]
    """Main procedures of same-day surgery."""


@dataclass(frozen=True)
class Catalogue:
    """Everything that the generator draws from."""

    conditions: Mapping[str, Condition]
    chronic: tuple[Condition, ...]
    statuses: tuple[Condition, ...]
    external: tuple[Condition, ...]
    """External causes, which go with injuries."""
    complications: tuple[Condition, ...]
    """What arises during a stay, most frequent first."""
    combine: tuple[tuple[str, str, str], ...]
    specialties: tuple[Specialty, ...]
    specialties_cumulative: tuple[float, ...]
    procedures: Mapping[tuple[str, Setting], tuple[Procedure, ...]]
    """By specialty and setting; main procedures of same-day surgery are not among them."""
    phrases: Mapping[str, Any]

    def specialty(self, name: str) -> Specialty:
        """Find a specialty by name."""
        return next(specialty for specialty in self.specialties if specialty.name == name)


def split_list(value: str | None, *, separator: str = "|") -> tuple[str, ...]:
    """Take ``a | b | c`` apart; nothing gives the empty tuple."""
    if value is None:
        return ()
    return tuple(part.strip() for part in str(value).split(separator) if part.strip())


def _read(name: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with (files(__package__) / name).open(encoding="utf-8") as stream:
        content: dict[str, Any] = yaml.load(stream, Loader=loader)
    return content


def _role(fields: Mapping[str, Any]) -> str:
    return next((role for role in MARKED_ROLES if fields.get(role)), "acute")


def _condition(code: str, fields: Mapping[str, Any], *, side: str, library: CodeLibrary) -> Condition:
    unknown = fields.keys() - CONDITION_FIELDS
    if unknown:
        # A comma outside quotation marks makes a field of what follows it.
        raise ValueError(f"sample code {code} has unknown fields {sorted(unknown)}; quote lists that hold commas")
    usual = [text.replace("{side}", side).replace("{s}", side[:1].upper()) for text in split_list(fields["say"])]
    mentions = tuple(dict.fromkeys([*usual, *official_terms(code, library=library)]))
    low, _, high = str(fields.get("age", "0-95")).partition("-")
    return Condition(
        code=code,
        mentions=mentions,
        num_usual=len(usual),
        group=fields.get("group", code[:3]),
        role=_role(fields),
        settings=frozenset(SETTING_LETTERS[letter] for letter in fields.get("at", "OESI")),
        ages=(int(low), int(high)),
        sex=fields.get("sex"),
        needs=fields.get("needs", ""),
        companions=split_list(fields.get("with"), separator=" "),
        always=split_list(fields.get("and"), separator=" "),
        underlying=split_list(fields.get("first"), separator=" "),
        symptoms=split_list(fields.get("hx")),
        findings=split_list(fields.get("see")),
        medications=split_list(fields.get("meds")),
        plans=split_list(fields.get("do")),
        drgs=split_list(fields.get("drg"), separator=" "),
        side=side if side in ("right", "left") else "",
    )


def _conditions(content: Mapping[str, Any], library: CodeLibrary) -> dict[str, Condition]:
    """Read the conditions of one file, in order; ``?`` in a code stands for each of its variants."""
    found = {}
    for section in ("conditions", "combined"):
        for pattern, fields in content.get(section, {}).items():
            sides = {digit: SIDES[digit] for digit in fields.get("sides", "")}
            for character, side in (fields.get("variants") or sides or {"": ""}).items():
                code = str(pattern).replace("?", str(character))
                found[code] = _condition(code, fields, side=side, library=library)
    return found


def _procedure(code: str, fields: Mapping[str, Any]) -> Procedure:
    return Procedure(
        system=CodeSystem(fields.get("system", "cpt")),
        code=code,
        mentions=split_list(fields["say"]),
        specialties=frozenset(split_list(fields.get("in"), separator=" ")),
        settings=frozenset(SETTING_LETTERS[letter] for letter in fields["at"]),
        reasons=split_list(fields.get("for"), separator=" "),
        probability=float(fields.get("p", 1)),
        is_main=bool(fields.get("main")),
        has_side=bool(fields.get("side")),
        wording=fields["text"],
    )


def _specialty(
    content: Mapping[str, Any], conditions: Mapping[str, Condition], procedures: Sequence[Procedure], own: Sequence[str]
) -> Specialty:
    settings = {Setting(name): weight for name, weight in content["settings"].items() if weight}
    low, _, high = content["ages"].partition("-")
    also = split_list(content.get("also"), separator=" ")
    return Specialty(
        name=content["name"],
        ages=(int(low), int(high)),
        sex=content.get("sex"),
        settings=tuple(settings),
        settings_cumulative=tuple(accumulate(float(weight) for weight in settings.values())),
        num_providers=content["providers"],
        takes_comorbidities=content.get("comorbidities", True),
        conditions=tuple(conditions[code] for code in (*own, *also) if conditions[code].role not in SECONDARY_ROLES),
        operations=tuple(item for item in procedures if item.is_main and content["name"] in item.specialties),
    )


@cache
def load_catalogue() -> Catalogue:
    """Read all data files, once in a process.

    Raises:
        ValueError: A data file names a code that the code library does not hold as valid.
    """
    library = load_icd10cm()
    common = _read("common.yaml")
    names = sorted(path.name for path in files(__package__).iterdir() if path.name.endswith(".yaml"))
    contents = [_read(name) for name in names if name not in SHARED_FILES]
    own = [_conditions(content, library) for content in contents]
    shared = _conditions(common, library)
    conditions = {code: condition for found in (shared, *own) for code, condition in found.items()}
    procedures = [_procedure(str(code), fields) for code, fields in _read("procedures.yaml").items()]
    specialties = tuple(
        _specialty(content, conditions, procedures, tuple(codes)) for content, codes in zip(contents, own, strict=True)
    )
    return Catalogue(
        conditions=conditions,
        chronic=tuple(shared[str(code)] for code in common["conditions"] if shared[str(code)].role == "chronic"),
        statuses=tuple(item for item in conditions.values() if item.role == "status"),
        external=tuple(item for item in conditions.values() if item.role == "external"),
        complications=tuple(conditions[code] for code in split_list(common["complications"], separator=" ")),
        combine=tuple((first, second, third) for first, second, third in common["combine"]),
        specialties=specialties,
        specialties_cumulative=tuple(accumulate(float(content["weight"]) for content in contents)),
        procedures={
            (specialty.name, setting): tuple(
                item
                for item in procedures
                if not item.is_main
                and setting in item.settings
                and (not item.specialties or specialty.name in item.specialties)
            )
            for specialty in specialties
            for setting in specialty.settings
        },
        phrases=_read("phrases.yaml"),
    )
