"""Stage 1 of the flow, without any data: coded records of invented patients, streamed.

Patients, encounters and notes are drawn with a generator seeded by the sample's seed and the
patient's number, so that a record depends neither on the platform nor on how many are asked for.
The texts show the shape of clinical coding, traps included; they say nothing about how well a
model does on real notes. Family histories are named and not coded, although ICD-10-CM could.
Procedure numbers stand with words of our own: CPT descriptors are licensed and not here.
"""

from collections.abc import Iterator
from itertools import count
from random import Random

from clinical_coding.readers.sample.assembly import assemble
from clinical_coding.readers.sample.catalogue import load_catalogue
from clinical_coding.readers.sample.encounters import make_case
from clinical_coding.readers.sample.patients import make_patient
from clinical_coding.records import CodedRecord

__all__ = ["read_sample"]


def read_sample(num_records: int, *, seed: int = 0) -> Iterator[CodedRecord]:
    """Make coded records, one at a time.

    Args:
        num_records: How many; the first ones are the same whatever the number.
        seed: Another seed gives other patients.

    Yields:
        Records with split, notes, codes and exact evidence; all encounters of one patient
        follow each other.

    Raises:
        ValueError: ``num_records`` is negative.
    """
    if num_records < 0:
        raise ValueError(f"num_records {num_records} must be at least 0")
    number = 0
    for patient_number in count():
        for record in _records_of_patient(seed, patient_number, first=number):
            if number == num_records:
                return
            yield record
            number += 1


def _records_of_patient(seed: int, patient_number: int, *, first: int) -> Iterator[CodedRecord]:
    """Make the encounters of one patient, in the order of their dates."""
    catalogue = load_catalogue()
    rng = Random(f"chartloop-sample:{seed}:{patient_number}")
    patient = make_patient(rng, catalogue, patient_id=f"sample-{seed}-p{patient_number:06d}")
    seen: frozenset[str] = frozenset()
    for rank in range(patient.num_encounters):
        case = make_case(rng, patient, rank=rank, seen=seen)
        seen |= {case.specialty.name}
        yield assemble(rng, case, catalogue.phrases, record_id=f"sample-{seed}-{first + rank:07d}")
