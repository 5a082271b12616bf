"""Record specs: the one line that says which records to read (stage 1).

A spec is a form, a place and options: ``codiesp:corpus.zip?lang=es&task=D``. Only the text is
judged here; whether anything lies at the place is the readers' business.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["RecordSpec", "parse_spec", "without_folders"]

Form = Literal["jsonl", "parquet", "codiesp", "sample"]

_ALLOWED: Final = "jsonl:PATH, parquet:PATH, codiesp:PATH[?lang=en|es&task=D|P] or sample:N[?seed=0]"
# Option defaults by form; an option that is not named here is an error.
_OPTIONS: Final[dict[Form, dict[str, str]]] = {
    "jsonl": {},
    "parquet": {},
    "codiesp": {"lang": "en", "task": "D"},
    "sample": {"seed": "0"},
}
_CHOICES: Final = {"lang": ("en", "es"), "task": ("D", "P")}


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """A record spec taken apart."""

    form: Form
    place: str
    """A path, or a number of records for ``sample``."""
    options: dict[str, str]
    """Every option of the form, defaults filled in."""


def parse_spec(spec: str) -> RecordSpec:
    """Take a record spec apart.

    Args:
        spec: ``jsonl:PATH``, ``parquet:PATH``, ``codiesp:PATH[?lang=en|es&task=D|P]`` or
            ``sample:N[?seed=0]``.

    Raises:
        ValueError: The spec has none of the allowed forms; the message lists them.
    """
    written, _, rest = spec.partition(":")
    form = next((form for form in _OPTIONS if form == written and rest), None)
    if form is None:
        raise ValueError(f"record spec {spec!r} has none of the allowed forms; write {_ALLOWED}")
    options = dict(_OPTIONS[form])
    place, marked, query = rest.partition("?") if options else (rest, "", "")
    for part in query.split("&") if marked else ():
        name, _, value = part.partition("=")
        if name not in options or value not in _CHOICES.get(name, (value,)):
            raise ValueError(f"record spec {spec!r} has an option {part!r} that is not allowed; write {_ALLOWED}")
        options[name] = value
    if form == "sample" and not (place.isdecimal() and options["seed"].isdecimal()):
        raise ValueError(f"record spec {spec!r} needs whole numbers, such as sample:1000?seed=0; write {_ALLOWED}")
    return RecordSpec(form, place, options)


def without_folders(spec: str) -> str:
    """The record spec with only the last part of its path, as a manifest may hold it."""
    return re.sub(r"^(\w+:)(?:[^?]*/)?([^?]*)", r"\1\2", spec)
