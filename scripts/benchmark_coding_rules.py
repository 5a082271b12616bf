"""Measure the coding rules: how fast they load and judge, and what they find on sound and on broken records.

Two to three minutes on two cores:

    python -m scripts.benchmark_coding_rules
"""

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console

from clinical_coding.code_library import load_icd10cm
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.documentation import ReadNote, read_note, support
from clinical_coding.edits import Policy, check, load_policy
from clinical_coding.findings import Severity
from clinical_coding.queries import QueryRules, find_queries, load_query_rules
from clinical_coding.readers import read_records
from clinical_coding.records import CodedRecord, Encounter, Note, Setting
from clinical_coding.tabular.instructions import InstructionKind
from scripts.answer_rules import DEFAULT_POLICY, DEFAULT_QUERIES
from scripts.benchmark_results import Row, write_results
from scripts.broken_records.breaking import break_records

__all__ = ["main"]

NUM_GOLD: Final = 10_000
NUM_BROKEN: Final = 1_000
NUM_CODES: Final = 15
NUM_WORDS: Final = 1_000
NUM_MENTIONS: Final = 30
NUM_STARTS: Final = 5
NUM_ROUNDS: Final = 5
_ID: Final = str(UUID(int=1))
_SEARCHES: Final = (
    "type 2 diabetes with kidney complication", "nstemi", "heart failure", "fracture of right femur", "pneumonia",
    "acute kidney", "I21.4", "i214", "screening colonoscopy", "sepsis due to e coli", "asthma moderate exacerbation",
    "left knee osteoarthritis", "long term insulin use", "third trimester pregnancy anemia", "headache",
)  # fmt: skip
# What is imported before the clock starts, and what is timed: the peer parses when it is imported.
_OURS: Final = ("from clinical_coding.code_library import load_icd10cm", "load_icd10cm()")
_PEER: Final = ("import warnings, xml.etree.ElementTree; warnings.simplefilter('ignore')", "import simple_icd_10_cm")
_TIMED: Final = """
import sys, time
exec(sys.argv[1])
started = time.perf_counter()
exec(sys.argv[2])
print(time.perf_counter() - started)
"""


def _start_seconds(code: tuple[str, str], *, cache: Path) -> float:
    """How long something takes in a fresh process, once modules are imported."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, *code],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _loading() -> list[Row]:
    first, cached, peer = [], [], []
    for _ in range(NUM_STARTS):
        with tempfile.TemporaryDirectory() as folder:
            first.append(_start_seconds(_OURS, cache=Path(folder)))
            cached.append(_start_seconds(_OURS, cache=Path(folder)))
            peer.append(_start_seconds(_PEER, cache=Path(folder)))
    medians = [statistics.median(taken) for taken in (first, cached, peer)]
    return [
        Row("load_icd10cm_first_time", medians[0], "s", "import simple_icd_10_cm, no notes parsed", medians[2]),
        Row("load_icd10cm_from_cache", medians[1], "s", "import simple_icd_10_cm, no notes parsed", medians[2]),
    ]


def _milliseconds(calls: Sequence[Callable[[], object]]) -> list[float]:
    taken = []
    for call in calls:
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1e3)
    return taken


def _p(name: str, taken: list[float]) -> list[Row]:
    percentiles = statistics.quantiles(taken, n=100)
    return [Row(f"{name}_p50", percentiles[49], "ms"), Row(f"{name}_p99", percentiles[98], "ms")]


def _search() -> list[Row]:
    index = CodeSystems.embedded().index(CodeSystem.ICD10CM)
    assert index is not None
    index.search("warm")
    calls = [lambda words=words: index.search(words) for words in _SEARCHES * 20]
    return _p("search_icd10cm", _milliseconds(calls))


def _padded(record: CodedRecord, others: Sequence[Code]) -> list[Code]:
    """The record's codes, filled up with other records' diagnoses to the number that is measured."""
    keys = {code.key for code in record.codes}
    fill = [code for code in others if code.key not in keys]
    codes = [*record.codes, *dict((code.key, code) for code in fill).values()][:NUM_CODES]
    return [
        code.model_copy(update={"sequence": place, "present_on_admission": "Y", "evidence": ()})
        for place, code in enumerate(codes, start=1)
    ]


def _edits(policy: Policy) -> list[Row]:
    systems = CodeSystems.embedded()
    stays = [one for one in read_records("sample:6000?seed=31") if one.encounter.setting is Setting.INPATIENT][:400]
    cases: list[tuple[Encounter, list[Code], list[ReadNote]]] = []
    for place, record in enumerate(stays):
        others = [code for other in stays[place + 1 : place + 12] for code in other.codes]
        codes = _padded(record, others)
        if len(codes) == NUM_CODES:
            cases.append((record.encounter, codes, [read_note(note) for note in record.notes]))
    calls = [
        lambda case=case: check(case[0], case[1], systems=systems, policy=policy, notes=case[2])
        for case in cases * NUM_ROUNDS
    ]
    first, warm = _milliseconds(calls[: len(cases)]), _milliseconds(calls)
    return [*_p("edits_15_codes", warm), *_p("edits_15_codes_met_for_the_first_time", first)]


def _long_notes() -> list[Note]:
    """Notes of a thousand words and more, each of several of the sample's inpatient notes."""
    notes: list[Note] = []
    text = ""
    for record in read_records("sample:600?seed=3"):
        if record.encounter.setting is Setting.INPATIENT:
            text += record.notes[0].text + "\n\n"
        if len(text.split()) >= NUM_WORDS:
            notes.append(Note(note_id=f"n{len(notes)}", type="discharge-summary", text=text))
            text = ""
    return notes


def _reading(rules: QueryRules) -> list[Row]:
    encounter = Encounter(setting=Setting.INPATIENT, specialty="medicine", age=60)

    def judge(note: Note) -> None:
        read = read_note(note)
        step = len(note.text) // NUM_MENTIONS
        for start in range(0, NUM_MENTIONS * step, step):
            read.assertion(start, start + 5)
        find_queries(encounter, [read], (), (), rules=rules, suggestion_id=_ID)

    notes = _long_notes()
    # As the gateway does once it has read its tables.
    gc.collect()
    gc.freeze()
    calls = [lambda note=note: judge(note) for note in notes * NUM_ROUNDS]
    _milliseconds(calls[: len(notes)])
    return _p("assertion_and_queries_1000_words", _milliseconds(calls))


def _findings(policy: Policy) -> list[Row]:
    systems = CodeSystems.embedded()
    num_blocked = num_codes = num_standing = 0
    for record in read_records(f"sample:{NUM_GOLD}?seed=11"):
        read = {note.note_id: read_note(note) for note in record.notes}
        found = check(record.encounter, record.codes, systems=systems, policy=policy, notes=tuple(read.values()))
        num_blocked += any(finding.severity is Severity.BLOCKING for finding in found)
        setting = record.encounter.setting
        num_codes += len(record.codes)
        num_standing += sum(support(code.key, code.evidence, read, setting=setting).stands for code in record.codes)
    broken = list(break_records(read_records("sample:1500?seed=12"), num=NUM_BROKEN, seed=5))
    num_found = 0
    for one in broken:
        found = check(
            one.encounter, one.codes, systems=systems, policy=policy, notes=[read_note(note) for note in one.notes]
        )
        num_found += any(finding.rule == one.rule and one.key in finding.codes for finding in found)
    return [
        Row("sound_records_blocked", num_blocked, f"of {NUM_GOLD:,}"),
        Row("sound_codes_that_the_documentation_supports", num_standing / num_codes, "share"),
        Row("broken_records_found", num_found, f"of {len(broken):,}"),
        Row("kinds_of_break", len({one.kind for one in broken}), "kinds"),
    ]


def _notes() -> list[Row]:
    blocks = load_icd10cm().note_blocks(InstructionKind.EXCLUDES1)
    parsed = sum(block.is_parsed for block in blocks)
    return [
        Row("excludes1_blocks", len(blocks), "notes"),
        Row("excludes1_blocks_parsed", parsed / len(blocks), "share"),
    ]


def _rates(rules: QueryRules) -> list[Row]:
    num_queries = num_records = 0
    for record in islice(read_records("sample:500?seed=3"), 500):
        read = [read_note(note) for note in record.notes]
        num_queries += len(find_queries(record.encounter, read, record.codes, (), rules=rules, suggestion_id=_ID))
        num_records += 1
    return [Row("queries_a_sample_record", num_queries / num_records, "queries")]


def main(out: Annotated[str, typer.Option(help="Name under docs/benchmarks.")] = "coding-rules") -> None:
    """Measure, and write docs/benchmarks/coding-rules.json."""
    console = Console()
    loading = _loading()
    policy, queries = load_policy(DEFAULT_POLICY, CodeSystems.embedded()), load_query_rules(DEFAULT_QUERIES)
    rows = [
        *loading,
        *_notes(),
        *_search(),
        *_edits(policy),
        *_reading(queries),
        *_findings(policy),
        *_rates(queries),
    ]
    for row in rows:
        console.print(f"{row.metric:<48} {row.value:.4g} {row.unit}", highlight=False)
    console.print(f"written to {write_results(out, rows)}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
