"""Measure how fast the sample generator makes records on one core, validation included.

The code library and the data files are loaded before the clock starts. Processor time is what one
core to itself would take; wall time also tells of whatever else ran on the machine.
"""

import resource
import statistics
import time
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import track

from clinical_coding.readers.sample import read_sample
from clinical_coding.readers.sample.catalogue import load_catalogue
from scripts.benchmark_results import Row, write_results

__all__ = ["main"]

NUM_REPEATS: Final = 3


def _speed(num_records: int) -> tuple[float, float]:
    """Make records once; give records a second of processor time and of wall time."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in read_sample(num_records):
        pass
    return num_records / (time.process_time() - processor), num_records / (time.perf_counter() - wall)


def _content(num_records: int) -> list[Row]:
    """Count what the records hold."""
    keys: set[str] = set()
    num_codes: list[int] = []
    num_words: list[int] = []
    for record in read_sample(num_records):
        keys |= record.keys()
        num_codes.append(len(record.codes))
        num_words.extend(len(note.text.split()) for note in record.notes)
    return [
        Row("codes_a_record", round(statistics.mean(num_codes), 2), "codes"),
        Row("words_a_note", round(statistics.mean(num_words), 1), "words"),
        Row("notes_a_record", round(len(num_words) / num_records, 2), "notes"),
        Row("distinct_codes", len(keys), "codes"),
        Row("distinct_icd10cm_codes", sum(key.startswith("icd10cm:") for key in keys), "codes"),
    ]


def main(
    num_records: Annotated[int, typer.Option(min=1, help="Records to make in each of three runs.")] = 5_000,
) -> None:
    """Measure the sample generator and write docs/benchmarks/sample.json."""
    console = Console()
    load_catalogue()
    speeds = [_speed(num_records) for _ in track(range(NUM_REPEATS), "making records", console=console)]
    by_processor, by_wall = (statistics.median(run[kind] for run in speeds) for kind in (0, 1))
    # ru_maxrss is in KiB on Linux.
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        Row("records_a_processor_second", round(by_processor), "1/s"),
        Row("records_a_second", round(by_wall), "1/s"),
        Row("peak_memory", round(peak_memory), "MiB"),
        *_content(num_records),
    ]
    for row in rows:
        console.print(f"{row.metric}: {row.value} {row.unit}")
    console.print(f"written to {write_results('sample', rows, num_records=num_records)}")


if __name__ == "__main__":
    typer.run(main)
