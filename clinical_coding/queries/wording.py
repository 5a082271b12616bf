"""Wording: what must not be in the words of a query, and which diagnoses they name.

Patterns for the compliance linter. Diagnoses are told by their heads ("heart failure") and by the endings that
medical Greek gives them ("-emia", "-opathy"); a sign or symptom ("hypoxia", "chest pain") is none of them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["CODE_NUMBER", "EMPHASIS", "FINANCE", "LEADING", "PRIOR_ENCOUNTER", "diagnoses_in", "undocumented"]

FINANCE: Final = re.compile(
    r"\b(?:reimburs\w*|pay(?:s|ments?|ers?|ors?)?|paid|billing|billed|bill|revenue|financial\w*|costs?|(?:ms-?|apr-?)?drgs?|"
    r"risk[- ]adjust\w*|case[- ]mix|relative weight|severity (?:scores?|of illness)|risk of mortality|"
    r"quality (?:scores?|measures?|metrics?|indicators?)|mortality (?:index|scores?)|length of stay|denials?|"
    r"audit(?:s|ed|ors?|ing)?|insur\w*|medicare|medicaid|(?-i:(?:M?CC|HCC|RAF|CMI|SOI|PSI|HAC)s?))\b",
    re.IGNORECASE,
)
LEADING: Final = re.compile(
    r"\b(?:(?:do(?:n't| not)?|would(?:n't)?) you (?:not )?agree|isn't|is it not|wouldn't|shouldn't|doesn't|"
    r"please (?:document|add|amend|change|include|confirm|write|record) (?:that|as|the diagnosis|your diagnosis|"
    r"[\w ]*diagnosis of)|(?:should|needs? to|must) be (?:documented|coded|reported)|meets? (?:the )?criteria|"
    r"we (?:believe|think|feel|recommend|suggest)|it (?:appears|seems|looks)|(?:appears|seems) to|"
    r"obviously|clearly|certainly|surely|undoubtedly|as you know|most likely|"
    r"(?:criteria|indicators|values?|findings?|results?) (?:support|suggest|indicate|point to|show|"
    r"are (?:consistent|diagnostic)))\b",
    re.IGNORECASE,
)
EMPHASIS: Final = re.compile(
    r"[*!]|\b(?:(?i:most likely|likeliest|preferred|recommended|suggested|best (?:answer|choice|option)|correct|"
    r"default)|(?!NSTEMI)[A-Z]{6,})\b"
)
PRIOR_ENCOUNTER: Final = re.compile(
    r"\b(?:(?:prior|previous|last|earlier|past) (?:encounters?|admissions?|visits?|stays?|hospitali[sz]ations?)|"
    r"(?:old|prior|previous) (?:records?|charts?))\b",
    re.IGNORECASE,
)
CODE_NUMBER: Final = re.compile(r"\b(?:[A-Z]\d[0-9A-Z]\.[0-9A-Z]{1,4}|ICD-?10|CPT|HCPCS)\b")

_HEADS: Final = (
    "abscess|aneurysm|apnea|arrest|arrhythmia|asthma|cancer|carcinoma|chf|cirrhosis|coma|copd|covid\\w*|delirium|"
    "dementia|depression|diabetes|diabetic|dka|dvt|embolism|emphysema|epilepsy|fibrillation|flutter|fracture|gangrene|"
    "gout|hemorrhage|haemorrhage|hemiplegia|hemiparesis|hypertension|hypertensive|hyperglycemia|hyperkalemia|"
    "hypotension|infarct(?:ion)?|ischemi[ac]|ketoacidosis|leukemia|lymphoma|malignancy|malnutrition|malnourished|"
    "melanoma|metastas[ie]s|metastatic|neoplasm|nstemi|obesity|obese|osteoporosis|osteoporotic|pneumonia|preeclampsia|"
    "quadriplegia|rhabdomyolysis|sepsis|septic|shock|stemi|stroke|thrombosis|tumou?r|ulcer|uti|withdrawal"
)
_COMPOUND_HEADS: Final = "disease|disorder|failure|infection|injury|syndrome|dependence|abuse"
_ENDINGS: Final = "emia|aemia|emic|itis|opathy|oma|penia|plegia|cytosis|algia|osis"
_DIAGNOSIS: Final = re.compile(
    rf"\b(?:(?P<compound>(?:[a-z]+\s)?(?:{_COMPOUND_HEADS})s?)|(?:{_HEADS})s?|[a-z]{{2,}}(?:{_ENDINGS}))\b",
    re.IGNORECASE,
)
_NOT_DIAGNOSES: Final = frozenset({"academic", "diagnosis", "epidemic", "hypoxemia", "prognosis", "systemic"})
# Says nothing of what has failed or is diseased.
_QUALIFIERS: Final = frozenset(
    "a an and acute any chronic documented for further no of or possible recurrent severe suspected the this "
    "underlying which with your".split()
)


def diagnoses_in(text: str) -> Iterator[str]:
    """The diagnoses that a text names, in lower case."""
    for match in _DIAGNOSIS.finditer(text):
        name = match.group().lower()
        if name in _NOT_DIAGNOSES:
            continue
        first, _, head = name.partition(" ")
        yield head if match["compound"] and head and first in _QUALIFIERS else name


def undocumented(text: str, *, documented: Iterable[str]) -> tuple[str, ...]:
    """The diagnoses that a text names and none of the documented texts does, in order."""
    record = "\n".join(documented).lower()
    return tuple(name for name in dict.fromkeys(diagnoses_in(text)) if _stem(name) not in record)


def _stem(name: str) -> str:
    """A name without its plural or adjective ending: hypertensive and hypertension are one."""
    for ending, least in (("ion", 8), ("ive", 8), ("ic", 6), ("ia", 6), ("is", 6), ("s", 5)):
        if name.endswith(ending) and len(name) >= least:
            return name[: -len(ending)]
    return name
