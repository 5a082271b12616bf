"""The one forward: bundles reloaded, batches equal to single notes, evidence in range, memory bounded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinical_coding.bundle import Calibration
from clinical_coding.code_library import load_icd10cm
from clinical_coding.codes import Code
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import CodedRecord, Note
from training.label_space import build_label_space
from training.model import Scorer, reading, scorer, varlen
from training.model.coding_model import CodingModel
from training.model.encoder import load_encoder
from training.model.packing import PackedWindows, pack_windows
from training.model.windows import TokenWindows, cut_windows

LOGIT_ALONE = Calibration(logit_weight=1.0, lexical_weight=0.0, offset=0.0)
BOTH = Calibration(logit_weight=1.0, lexical_weight=6.0, offset=-2.0)
ZERO_WIDTH = Note(note_id="n1", text="\u200b\u200b")

LONG_NOTE = """
import resource, sys
from pathlib import Path
from clinical_coding.records import Note
from training.model import Scorer

scorer = Scorer(Path(sys.argv[1]), num_threads=1)
scorer.score([[Note(note_id="n1", text="chest pain")]])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = ("pneumonia of the left lower lobe, " * 6000)[:200_000]
(codes,) = scorer.score([[Note(note_id="n1", text=text)]])
print(len(codes), max(span.end for code in codes for span in code.evidence))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def written(write_model: Any) -> tuple[Path, CodingModel]:
    return write_model(calibration=BOTH, threshold=0.3, max_windows=10_000)


@pytest.fixture(scope="module")
def loaded(written: tuple[Path, CodingModel]) -> Scorer:
    return Scorer(written[0])


@pytest.fixture(scope="module")
def documents(made_records: list[CodedRecord]) -> list[tuple[Note, ...]]:
    """Twelve documents of one to a dozen windows, the longest and shortest side by side, one without tokens."""
    long = Note(note_id="n9", text=" ".join(record.notes[0].text for record in made_records[:6]))
    chosen = [record.notes for record in made_records[:9]]
    return [*chosen, (Note(note_id="n1", text="asthma"),), (long,), (ZERO_WIDTH,)]


def confidences(codes: tuple[PredictedCode, ...]) -> dict[str, float]:
    return {code.key: code.confidence for code in codes}


def test_logits_are_those_before_the_merge(write_model: Any, documents: list[tuple[Note, ...]]) -> None:
    folder, model = write_model(calibration=LOGIT_ALONE, threshold=0.3)
    reloaded = Scorer(folder)
    for document in documents[:4]:
        (windows,) = cut_windows([document], tokenizer=reloaded._tokenizer, windowing=reloaded.bundle.windowing)
        with torch.no_grad():
            logits_BL, _, _ = model(pack_windows([windows.input_ids], pad_token_id=0))
        found = confidences(reloaded.score([document])[0])
        confidence_L = np.array([found[label.key] for label in reloaded.labels])
        # float32 through three layers, with the products of LoRA added to the weights instead of the outputs.
        np.testing.assert_allclose(np.log(confidence_L / (1 - confidence_L)), logits_BL[0].numpy(), atol=1e-4)


def test_a_batch_gives_what_single_documents_give(loaded: Scorer, documents: list[tuple[Note, ...]]) -> None:
    for together, document in zip(loaded.score(documents), documents, strict=True):
        (alone,) = loaded.score([document])
        assert confidences(together) == pytest.approx(confidences(alone), abs=1e-6)
        assert [code.evidence for code in together] == [code.evidence for code in alone]


def test_parts_give_what_the_whole_gives(
    loaded: Scorer, documents: list[tuple[Note, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loaded.score(documents)
    monkeypatch.setattr(loaded, "_max_tokens_a_pass", 40)
    for parts, one in zip(loaded.score(documents), whole, strict=True):
        assert confidences(parts) == pytest.approx(confidences(one), abs=1e-6)


def test_flat_rows_give_what_stacks_give(
    written: tuple[Path, CodingModel],
    loaded: Scorer,
    documents: list[tuple[Note, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As on a GPU, whose kernel plain PyTorch stands for.
    monkeypatch.setattr(varlen, "_has_kernel", lambda _: True)
    flat = Scorer(written[0])
    assert flat._is_flat
    assert not loaded._is_flat
    for ours, theirs in zip(flat.score(documents), loaded.score(documents), strict=True):
        assert confidences(ours) == pytest.approx(confidences(theirs), abs=1e-5)
        assert [code.evidence for code in ours[:3]] == [code.evidence for code in theirs[:3]]


def test_an_encoder_in_half_precision_scores_nearly_the_same(
    written: tuple[Path, CodingModel],
    loaded: Scorer,
    documents: list[tuple[Note, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_half(folder: Path, *, dtype: torch.dtype) -> torch.nn.Module:
        assert dtype == torch.float32
        return load_encoder(folder, dtype=torch.bfloat16)

    monkeypatch.setattr(varlen, "_has_kernel", lambda _: True)
    monkeypatch.setattr(scorer, "load_encoder", in_half)
    half = Scorer(written[0])
    assert half._is_flat
    for ours, theirs in zip(half.score(documents), loaded.score(documents), strict=True):
        # Eight bits of each state, through three layers.
        assert confidences(ours) == pytest.approx(confidences(theirs), abs=0.02)


@pytest.fixture
def reads_ahead(loaded: Scorer, monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """As for a GPU."""
    monkeypatch.setattr(loaded._reader, "_reads_ahead", True)
    return loaded


def test_documents_are_read_ahead_in_order_and_not_too_far(
    reads_ahead: Scorer, documents: list[tuple[Note, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, read = reads_ahead.score(documents), list[int]()
    monkeypatch.setattr(reading, "_DOCUMENTS_A_CHUNK", 2)
    monkeypatch.setattr(reading, "_CHUNKS_AHEAD", 2)
    monkeypatch.setattr(reads_ahead, "_max_tokens_a_pass", 40)

    def counted(part: Sequence[Sequence[Note]], **options: Any) -> list[TokenWindows]:
        read.append(len(part))
        return cut_windows(part, **options)

    monkeypatch.setattr(reading, "cut_windows", counted)
    first = next(iter(reads_ahead._reader.read(documents)))
    assert first.windows.input_ids
    assert sum(read) <= 6
    for parts, one in zip(reads_ahead.score(documents), whole, strict=True):
        assert confidences(parts) == pytest.approx(confidences(one), abs=1e-6)
    assert sum(read) >= len(documents)


def test_reading_ahead_gives_what_reading_in_turn_gives(
    loaded: Scorer, documents: list[tuple[Note, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_turn = loaded.score(documents * 12)
    monkeypatch.setattr(loaded._reader, "_reads_ahead", True)
    assert loaded.score(documents * 12) == in_turn


def test_what_fails_in_the_reading_thread_is_raised(
    reads_ahead: Scorer, documents: list[tuple[Note, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> list[TokenWindows]:
        raise ValueError("no tokens today")

    monkeypatch.setattr(reading, "cut_windows", fail)
    with pytest.raises(ValueError, match="no tokens today"):
        reads_ahead.score(documents)


@pytest.mark.parametrize(("is_flat", "fits"), [(False, 256), (True, 288)])
def test_passes_shrink_until_memory_suffices_and_it_is_said(
    written: tuple[Path, CodingModel],
    documents: list[tuple[Note, ...]],
    is_flat: bool,
    fits: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(varlen, "_has_kernel", lambda _: is_flat)
    small = Scorer(written[0])
    whole = small.score(documents)
    encode, room = scorer.encode_packed, 300

    def short_of_memory(encoder: torch.nn.Module, windows: PackedWindows) -> torch.Tensor:
        if any(stack.input_ids_WT.numel() > room for stack in windows.stacks):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate much")
        return encode(encoder, windows)

    monkeypatch.setattr(scorer, "encode_packed", short_of_memory)
    monkeypatch.setattr(small, "_max_tokens_a_pass", 2000)
    for found, one in zip(small.score(documents), whole, strict=True):
        assert confidences(found) == pytest.approx(confidences(one), abs=1e-6)
    assert caplog.messages[-1] == f"out of memory: the encoder now reads at most {fits} tokens at once"
    room = 10
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        small.score(documents)


def test_codes_are_ranked_and_suggested_from_the_threshold(loaded: Scorer, documents: list[tuple[Note, ...]]) -> None:
    suggested = 0
    for document, codes in zip(documents, loaded.score(documents), strict=True):
        texts = {note.note_id: note.text for note in document}
        ranked = [code.confidence for code in codes]
        assert ranked == sorted(ranked, reverse=True)
        for code in codes:
            assert code.suggested == (code.confidence >= loaded.bundle.threshold)
            assert bool(code.evidence) == code.suggested
            suggested += code.suggested
            for span in code.evidence:
                assert 0 <= span.start < span.end <= len(texts[span.note_id])
    assert 0 < suggested < len(documents) * len(loaded.labels)


def test_notes_without_tokens_have_no_codes(loaded: Scorer) -> None:
    assert loaded.score([[ZERO_WIDTH]]) == [()]
    assert loaded.score([]) == []


def test_a_note_of_marks_alone_is_scored(loaded: Scorer) -> None:
    # Tokens, but no sentence for the lexical match.
    (codes,) = loaded.score([[Note(note_id="n1", text=";")]])
    assert len(codes) == len(loaded.labels)


def test_at_most_a_hundred_codes_are_ranked(write_model: Any) -> None:
    leaves = load_icd10cm().leaves()[:130]
    space = build_label_space(Code.model_validate({"system": "icd10cm", "code": leaf}) for leaf in leaves)
    many = Scorer(write_model(label_space=space, calibration=LOGIT_ALONE, threshold=0.0)[0])
    (codes,) = many.score([[Note(note_id="n1", text="Seen for cholera.")]])
    assert len(codes) == len({code.key for code in codes}) == 100
    assert all(code.suggested and code.evidence for code in codes)


def test_two_stages_find_the_codes_that_a_full_pass_finds(
    write_model: Any, documents: list[tuple[Note, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = load_icd10cm().leaves()[::150]
    space = build_label_space(Code.model_validate({"system": "icd10cm", "code": leaf}) for leaf in leaves)
    folder, _ = write_model(label_space=space, calibration=BOTH, threshold=0.3)
    monkeypatch.setattr(scorer, "NUM_SHORTLISTED", 250)
    two_stages, in_full = (Scorer(folder, max_labels_in_full=limit) for limit in (250, sys.maxsize))
    assert len(space.labels) > 400
    recalls = []
    for found, wanted in zip(two_stages.score(documents), in_full.score(documents), strict=True):
        expected = confidences(wanted)
        for key, confidence in confidences(found[:50]).items():
            assert expected.get(key, confidence) == pytest.approx(confidence, abs=1e-6)
        if wanted:
            recalls.append(len({code.key for code in found[:50]} & {code.key for code in wanted[:50]}) / 50)
    assert np.mean(recalls) >= 0.995


def test_a_very_long_note_is_scored_in_bounded_memory(write_model: Any) -> None:
    folder, _ = write_model(calibration=BOTH, threshold=0.0, max_windows=10_000)
    command = [sys.executable, "-c", LONG_NOTE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found, kilobytes = done.stdout.splitlines()
    num_codes, last = map(int, found.split())
    assert num_codes == 10
    assert 0 < last <= 200_000
    # 35,000 tokens: their ids, offsets and states of 32 units are tens of megabytes.
    assert int(kilobytes) < 400_000


FILES = [
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "encoder/config.json",
    "encoder/model.safetensors",
    "encoder/tokenizer.json",
    "encoder/tokenizer_config.json",
    "head.safetensors",
    "labels.json",
    "lexical.safetensors",
    "manifest.json",
]


def test_every_file_is_named_here(written: tuple[Path, CodingModel]) -> None:
    assert sorted(json.loads((written[0] / "bundle.json").read_text())["files"]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused(written: tuple[Path, CodingModel], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(written[0], tmp_path / "bundle")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"bundle file {name} does not have the SHA-256"):
        Scorer(folder)
