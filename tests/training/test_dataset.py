"""Records become batches: content hashed, windows cut, evidence and states in place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.bundle import Label, Windowing
from clinical_coding.codes import split_key
from clinical_coding.manifest import hash_patients
from clinical_coding.records import CodedRecord
from training.batches import Batch, Collator
from training.corpus import Corpus, choose_held_out, is_held_out
from training.dataset import cut_records, load_records, open_stored, store_records
from training.label_sampler import LabelSampler
from training.label_space import LabelSpace
from training.model.encoder import load_tokenizer
from training.reference import reference_histograms
from training.step import code_loss

LABELS = ["icd10cm:I10", "icd10cm:J18.9", "icd10cm:N17.9", "icd10cm:R07.9", *(f"cpt:{n}" for n in range(99201, 99221))]
INDEX = {key: at for at, key in enumerate(LABELS)}
TEXT = "The patient was seen today. Assessment: acute kidney failure and chest pain. " * 3


def record(codes: list[dict[str, Any]], *, text: str = TEXT, record_id: str = "r1", **changes: Any) -> CodedRecord:
    return CodedRecord.model_validate(
        {
            "record_id": record_id,
            "patient_id": "p1",
            "split": "train",
            "encounter": {"setting": "outpatient", "specialty": "cardiology"},
            "notes": [{"note_id": "n1", "text": "Phone call."}, {"note_id": "n2", "text": text}],
            "codes": [{"system": "icd10cm"} | code for code in codes],
        }
        | changes
    )


@pytest.fixture
def batch_of(made_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def make(*records: CodedRecord, num_sampled: int = len(LABELS)) -> tuple[Batch, Any]:
        tmp_path = tmp_path_factory.mktemp("batch")
        store_records(records, sources=["made"], path=tmp_path / "records.arrow")
        windows = cut_records(
            open_stored(tmp_path / "records.arrow"),
            tokenizer=load_tokenizer(made_encoder),
            windowing=Windowing(max_window_tokens=16, max_windows=50),
            index=INDEX,
            path=tmp_path / "windows.arrow",
        )
        sampler = LabelSampler([[] for _ in LABELS], num_sampled=num_sampled, seed=0)
        (batch,) = Collator(sampler, pad_token_id=0, lower_layers=None)(list(windows), step=0, max_tokens=10_000)
        return batch, windows

    return make


def test_states_become_targets_and_weights(batch_of: Any) -> None:
    states = [
        {"code": "I10", "weight": 2.0},
        {"code": "J18.9", "state": "negative", "weight": 3.0},
        {"code": "N17.9", "state": "unknown"},
    ]
    batch, _ = batch_of(record(states), record([{"code": "N17.9"}], record_id="r2"))
    column = {LABELS[label]: at for at, label in enumerate(batch.labels_S.tolist())}
    told = {key: (batch.targets_BS[:, at].tolist(), batch.weights_BS[:, at].tolist()) for key, at in column.items()}
    assert told["icd10cm:I10"] == ([1.0, 0.0], [2.0, 1.0])
    assert told["icd10cm:J18.9"] == ([0.0, 0.0], [3.0, 1.0])
    assert told["icd10cm:N17.9"] == ([0.0, 1.0], [0.0, 1.0])
    assert told["icd10cm:R07.9"] == ([0.0, 0.0], [1.0, 1.0])


def test_on_a_partial_record_only_listed_codes_weigh(batch_of: Any) -> None:
    listed = [
        {"code": "I10", "weight": 2.0},
        {"code": "J18.9", "state": "negative", "weight": 3.0},
        {"code": "N17.9", "state": "unknown"},
    ]
    batch, _ = batch_of(record(listed, unlisted="unknown"), record([], record_id="r2"))
    column = {LABELS[label]: at for at, label in enumerate(batch.labels_S.tolist())}
    assert len(column) == len(LABELS)
    told = {key: batch.weights_BS[0, at].item() for key, at in column.items()}
    assert {key: weight for key, weight in told.items() if weight} == {"icd10cm:I10": 2.0, "icd10cm:J18.9": 3.0}
    assert [key for key, at in column.items() if batch.targets_BS[0, at]] == ["icd10cm:I10"]
    assert (batch.weights_BS[1] == 1).all()


def test_unlisted_codes_of_a_partial_record_move_nothing(batch_of: Any) -> None:
    batch, _ = batch_of(record([{"code": "I10"}, {"code": "J18.9", "state": "negative"}], unlisted="unknown"))
    logits_BS = torch.zeros(batch.targets_BS.shape, requires_grad=True)
    code_loss(logits_BS, batch.targets_BS, batch.weights_BS).backward()
    moved = {LABELS[batch.labels_S[at]]: slope for at, slope in enumerate(logits_BS.grad[0].tolist()) if slope}
    # The slope of the logistic loss at 0: half the weight, down for a positive and up for a negative.
    assert moved == {"icd10cm:I10": -0.5, "icd10cm:J18.9": 0.5}


def test_evidence_of_a_partial_record_teaches_as_any_other(batch_of: Any) -> None:
    listed = [{"code": "I10", "evidence": [{"note_id": "n2", "start": 0, "end": 11}]}]
    whole, part = (batch_of(record(listed, unlisted=unlisted))[0] for unlisted in ("absent", "unknown"))
    assert part.evidence_EN.any() and torch.equal(part.evidence_EN, whole.evidence_EN)
    assert part.labels_S[part.evidence_column_E].tolist() == [INDEX["icd10cm:I10"]]


def test_a_code_outside_the_label_space_is_no_label(batch_of: Any) -> None:
    batch, _ = batch_of(record([{"code": "M54.50"}, {"code": "I10"}]))
    assert batch.targets_BS.sum() == 1


def test_a_code_known_with_one_modifier_and_unknown_with_another_is_positive(batch_of: Any) -> None:
    visit = {"system": "cpt", "code": "99213"}
    batch, _ = batch_of(record([visit, visit | {"modifiers": ["25"], "state": "unknown"}]))
    column = batch.labels_S.tolist().index(INDEX["cpt:99213"])
    assert (batch.targets_BS[0, column], batch.weights_BS[0, column]) == (1.0, 1.0)


def test_evidence_marks_just_the_tokens_that_touch_the_span(batch_of: Any, made_encoder: Path) -> None:
    # From the middle of "kidney" to the middle of "chest", in the second mention, across windows of 14 tokens.
    start = TEXT.index("kidney", 100) + 2
    end = TEXT.index("chest", start) + 2
    span = {"note_id": "n2", "start": start, "end": end}
    batch, windows = batch_of(
        record([{"code": "I10"}], record_id="r0"),
        record([{"code": "N17.9", "evidence": [span]}, {"code": "R07.9", "state": "negative", "evidence": [span]}]),
    )
    assert batch.labels_S[batch.evidence_column_E].tolist() == [INDEX["icd10cm:N17.9"]]
    # The first record's tokens come before those of the second.
    marked = np.flatnonzero(batch.evidence_EN[0].numpy()) - batch.windows.lengths[0]
    tokens = [token for window in windows[1]["input_ids"] for token in window[1:-1]]
    words = load_tokenizer(made_encoder).convert_ids_to_tokens([tokens[at] for at in marked])
    assert words == ["kidney", "failure", "and", "chest"]


def test_a_stack_says_where_each_record_s_tokens_lie(batch_of: Any) -> None:
    batch, windows = batch_of(record([]), record([], text="asthma", record_id="r2"))
    packed = batch.windows
    flat = torch.cat([stack.input_ids_WT.flatten() for stack in packed.stacks])
    for real, row in zip(packed.token_index_N.split(packed.lengths), windows, strict=True):
        assert flat[real].tolist() == [token for window in row["input_ids"] for token in window[1:-1]]
    assert all((stack.input_ids_WT[stack.mask_WT == 0] == 0).all() for stack in packed.stacks)


def test_a_record_without_tokens_is_kept(batch_of: Any) -> None:
    empty = record([{"code": "I10"}]).model_copy(
        update={"notes": record([], text="\u200b\u200b").notes[1:], "record_id": "r2"}
    )
    batch, windows = batch_of(record([]), empty)
    assert windows["record_id"] == ["r1", "r2"]
    assert batch.windows.lengths[0] > 0 and batch.windows.lengths[1] == 0
    assert batch.targets_BS[1].sum() == 1


def test_records_come_back_as_they_were(made_records: list[CodedRecord], tmp_path: Path) -> None:
    manifest = store_records(iter(made_records), sources=["made"], path=tmp_path / "records.arrow")
    assert list(load_records(open_stored(tmp_path / "records.arrow"))) == made_records
    assert manifest.record_ids == tuple(one.record_id for one in made_records)
    assert manifest.splits == {"train": 40, "dev": 8, "test": 4}
    assert manifest.patient_hashes == hash_patients(f"p{number}" for number in range(26))


def test_the_hash_changes_with_any_content_and_with_order(made_records: list[CodedRecord], tmp_path: Path) -> None:
    first, second, *rest = made_records
    encounter = first.encounter.model_copy(update={"age": 70})
    note = first.notes[0].model_copy(update={"text": first.notes[0].text + "."})
    variants = [
        made_records,
        [second, first, *rest],
        [second, *rest],
        [first.model_copy(update={"patient_id": "p99"}), second, *rest],
        [first.model_copy(update={"encounter": encounter}), second, *rest],
        [first.model_copy(update={"notes": (note, *first.notes[1:])}), second, *rest],
        [first.model_copy(update={"codes": first.codes[1:]}), second, *rest],
    ]
    hashes = [store_records(v, sources=["made"], path=tmp_path / "r.arrow").content_sha256 for v in variants]
    assert len(set(hashes)) == len(variants)
    assert store_records(variants[0], sources=["else"], path=tmp_path / "r.arrow").content_sha256 == hashes[0]


def test_adjudications_are_named_in_the_manifest(tmp_path: Path) -> None:
    provenance = {"source": "adjudication", "adjudication_id": "a7"}
    adjudicated = record([{"code": "I10", "provenance": provenance}, {"code": "J18.9"}])
    manifest = store_records([adjudicated], sources=["made"], path=tmp_path / "records.arrow")
    assert manifest.adjudication_ids == ("a7",)


def test_no_records_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"jsonl:x: none is in the chosen splits; choose others with --splits"):
        store_records([], sources=["jsonl:x"], path=tmp_path / "records.arrow")


def test_no_patient_is_both_held_out_and_trained_on(corpus: Corpus) -> None:
    patients = np.array(corpus.stored["patient_id"])
    assert not set(patients[corpus.held_out]) & set(patients[~corpus.held_out])
    assert 0 < corpus.held_out.sum() < len(patients)


@given(st.lists(st.tuples(st.sampled_from([f"p{at}" for at in range(12)]), st.booleans()), min_size=1))
def test_patients_with_a_partial_record_are_trained_on_whole(rows: list[tuple[str, bool]]) -> None:
    patients, complete = zip(*rows, strict=True)
    held_out = choose_held_out(Dataset.from_dict({"patient_id": patients, "complete": complete}), share=0.5)
    whole = {patient for patient in patients if all(ok for other, ok in rows if other == patient)}
    chosen = {patient for patient in whole if is_held_out(patient, share=0.5)}
    assert held_out.tolist() == [patient in chosen for patient in patients]


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.floats(0.01, 0.98))
def test_a_greater_share_holds_out_the_same_patients_and_more(patients: list[str], share: float) -> None:
    for patient in patients:
        assert is_held_out(patient, share=share) <= is_held_out(patient, share=share + 0.01)


def test_about_the_share_is_held_out() -> None:
    held_out = [is_held_out(f"p{at}", share=0.1) for at in range(10_000)]
    # Four standard deviations of a binomial count.
    assert sum(held_out) == pytest.approx(1000, abs=120)


def test_priors_are_shares_of_the_given_records(corpus: Corpus) -> None:
    rows = np.flatnonzero(~corpus.held_out)
    prior_L = corpus.priors(corpus.windows.select(rows))
    label = corpus.label_space.index["icd10cm:I10"]
    records = [one for one, out in zip(load_records(corpus.stored), corpus.held_out, strict=True) if not out]
    assert prior_L[label] == pytest.approx(sum("icd10cm:I10" in one.keys() for one in records) / len(records))
    assert torch.all((prior_L >= 0) & (prior_L <= 1))


def test_priors_count_only_what_is_known(corpus: Corpus, batch_of: Any) -> None:
    labels = (Label(system=split_key(key)[0], release=None, code=split_key(key)[1], description=None) for key in LABELS)
    space = LabelSpace(tuple(labels), tuple((key,) for key in LABELS), INDEX)
    _, windows = batch_of(
        record([{"code": "I10"}]),
        record([{"code": "J18.9", "state": "unknown"}], record_id="r2"),
        record([{"code": "I10"}, {"code": "N17.9", "state": "negative"}], record_id="r3", unlisted="unknown"),
    )
    prior_L = replace(corpus, label_space=space).priors(windows)
    told = {key: prior_L[at].item() for key, at in INDEX.items()}
    # Known of I10 are all three records, of J18.9 the first, of N17.9 all three, of R07.9 the complete two.
    assert told["icd10cm:I10"] == pytest.approx(2 / 3)
    assert told["icd10cm:J18.9"] == told["icd10cm:N17.9"] == told["icd10cm:R07.9"] == 0
    _, windows = batch_of(record([{"code": "J18.9"}]), record([{"code": "J18.9", "state": "unknown"}], record_id="r2"))
    assert replace(corpus, label_space=space).priors(windows)[INDEX["icd10cm:J18.9"]] == 1


def test_the_reference_of_codes_is_that_of_complete_records(batch_of: Any) -> None:
    _, windows = batch_of(
        record([{"code": "I10"}, {"code": "N17.9"}]), record([{"code": "R07.9"}], record_id="r2", unlisted="unknown")
    )
    labels = [Label(system=split_key(key)[0], release=None, code=split_key(key)[1], description=None) for key in LABELS]
    reference = reference_histograms(windows, labels=labels, confidences=np.array([[0.1, 0.9]]))
    assert reference["codes"] == {"icd10cm:I10": 0.5, "icd10cm:N17.9": 0.5, "other": 0.0}
