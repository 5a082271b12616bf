import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clinical_coding.code_library import CODIESP_RELEASE, ICD10CM_RELEASE
from clinical_coding.readers import read_records
from clinical_coding.readers.codiesp import specialty_of
from clinical_coding.records import CodedRecord, Setting, Split

TRAIN, OTHER, DEV = "S0365-66912005000700014-1", "S9999-99992005000100001-1", "S0004-06142006000100001-1"
SPANISH = "Paciente con estenosis ureteral derecha e hipertensión."
ENGLISH = "Patient with right ureteral stenosis and hypertension."

Corpus = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Writes a small corpus in the published layout; files given by name are added or replaced."""

    def write(**changes: str) -> Path:
        root = tmp_path / "corpus" / "final_dataset_v4_to_publish"
        files = {
            "train/trainD.tsv": f"{TRAIN}\tq62.11\n{TRAIN}\ti10\n{TRAIN}\ti10\n{TRAIN}\tn28.8\n",
            "train/trainP.tsv": f"{TRAIN}\tbt41zzz\n{TRAIN}\tct13\n",
            "train/trainX.tsv": f"{TRAIN}\tDIAGNOSTICO\tq62.11\testenosis derecha\t13 22;32 39\n"
            f"{TRAIN}\tDIAGNOSTICO\tq62.11\testenosis ureteral\t13 31\n"
            f"{TRAIN}\tDIAGNOSTICO\ti10\thipertensión\t42 54;42 42\n"
            f"{TRAIN}\tPROCEDIMIENTO\tct13\tureteral\t23 31\n",
            "dev/devD.tsv": f"{DEV}\tn39.0\n",
            "dev/devP.tsv": "",
            "dev/devX.tsv": "",
            "background/text_files_en/S0000-1.txt": "Unlabelled.",
        }
        for split, document_id in (("train", TRAIN), ("train", OTHER), ("dev", DEV)):
            files[f"{split}/text_files/{document_id}.txt"] = SPANISH
            files[f"{split}/text_files_en/{document_id}.txt"] = ENGLISH
        for name, text in (files | changes).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return tmp_path / "corpus"

    return write


def read(path: Path, options: str = "", *, rejects: Path | None = None) -> dict[str, CodedRecord]:
    return {record.record_id: record for record in read_records(f"codiesp:{path}{options}", rejects=rejects)}


def test_documents_become_records(corpus: Corpus) -> None:
    records = read(corpus())
    assert [(name, record.split) for name, record in records.items()] == [
        (TRAIN, Split.TRAIN),
        (OTHER, Split.TRAIN),
        (DEV, Split.DEV),
    ]
    record = records[TRAIN]
    assert record.patient_id == TRAIN
    assert record.encounter.setting is Setting.INPATIENT
    assert record.encounter.specialty == "ophthalmology"
    assert record.notes[0].text == ENGLISH
    assert records[OTHER].codes == ()


def test_codes_are_dotted_upper_case_once_each_under_their_release(
    corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    codes = read(corpus())[TRAIN].codes
    assert [(code.key, code.release) for code in codes] == [
        ("icd10cm:Q62.11", ICD10CM_RELEASE),
        ("icd10cm:I10", ICD10CM_RELEASE),
        ("icd10cm:N28.8", CODIESP_RELEASE),
    ]
    assert caplog.text.count("1 of 4 CodiEsp labels are kept under release icd10es-2018") == 1


def test_the_original_carries_the_annotators_evidence(corpus: Corpus) -> None:
    record = read(corpus(), "?lang=es")[TRAIN]
    text = record.notes[0].text
    covered = {code.code: [text[span.start : span.end] for span in code.evidence] for code in record.codes}
    assert covered == {
        "Q62.11": ["estenosis ureteral", "derecha"],
        "I10": ["hipertensión"],
        "N28.8": [],
    }


def test_the_translation_carries_none(corpus: Corpus) -> None:
    assert all(code.evidence == () for code in read(corpus())[TRAIN].codes)


def test_procedures_are_another_task(corpus: Corpus) -> None:
    codes = read(corpus(), "?lang=es&task=P")[TRAIN].codes
    assert [(code.key, code.release) for code in codes] == [
        ("icd10pcs:BT41ZZZ", CODIESP_RELEASE),
        ("icd10pcs:CT13", CODIESP_RELEASE),
    ]
    assert [len(code.evidence) for code in codes] == [0, 1]


def test_a_zip_reads_like_its_folder(corpus: Corpus, tmp_path: Path) -> None:
    folder, path = corpus(), tmp_path / "corpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder))
    assert read(path, "?lang=es") == read(folder, "?lang=es")


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("train/trainD.tsv", f"{TRAIN} i10", "label: expected id, code, separated by tabs, but the line has 1 fields"),
        ("train/trainD.tsv", f"{TRAIN}\tnone", "label: code 'NON.E' is not a code of icd10cm"),
        ("train/trainD.tsv", "S1\ti10", "label: document 'S1' has no text file"),
        ("train/trainX.tsv", f"{TRAIN}\tDIAGNOSTICO\ti10\tx\t50 56", "out of range: the text has 55 characters"),
        ("train/trainX.tsv", f"{TRAIN}\tDIAGNOSTICO\ti10\tx\t5", "evidence: offsets must be pairs of numbers"),
        ("train/trainX.tsv", f"{TRAIN}\tDIAGNOSTICO\te11.9\tx\t5 9", "code E11.9 is not a label"),
    ],
)
def test_bad_table_lines_are_kept_with_file_line_and_reason(
    corpus: Corpus, tmp_path: Path, name: str, line: str, reason: str
) -> None:
    tables = {"train/trainD.tsv": f"{TRAIN}\ti10\n", "train/trainX.tsv": ""}
    tables[name] += line + "\n"
    rejects = tmp_path / "rejects.jsonl"
    records = read(corpus(**tables), "?lang=es", rejects=rejects)
    assert [code.code for code in records[TRAIN].codes] == ["I10"]
    rejected = json.loads(rejects.read_text())
    assert rejected["file"].endswith(name)
    assert rejected["line"] == tables[name].count("\n")
    assert rejected["raw"] == line
    assert reason in rejected["reason"]


def test_an_empty_document_is_kept_with_its_reason(corpus: Corpus, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    records = read(corpus(**{f"train/text_files_en/{OTHER}.txt": " \n"}), rejects=rejects)
    assert list(records) == [TRAIN, DEV]
    rejected = json.loads(rejects.read_text())
    assert rejected["file"].endswith(f"{OTHER}.txt")
    assert (rejected["line"], rejected["reason"], rejected["raw"]) == (1, "text: the document is empty", " \n")


def test_a_split_without_labels_is_read_and_told(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    path = corpus(**{"test/text_files_en/S0211-69912006000100001-1.txt": "Patient with proteinuria."})
    record = read(path)["S0211-69912006000100001-1"]
    assert record.split is Split.TEST
    assert record.codes == ()
    assert "CodiEsp split test has no table testD.tsv" in caplog.text


def test_what_is_no_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no CodiEsp texts; expected train/"):
        read(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match="is neither a folder nor a zip"):
        read(tmp_path / "text.zip")


def test_another_encoding_is_told(corpus: Corpus) -> None:
    path = corpus()
    text = path / "final_dataset_v4_to_publish" / "train" / "text_files" / f"{TRAIN}.txt"
    text.write_bytes(SPANISH.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{TRAIN}.txt is not UTF-8 text at byte 52"):
        read(path, "?lang=es")


@pytest.mark.parametrize(
    ("document_id", "specialty"),
    [
        ("S0210-48062006000100002-1", "urology"),
        ("S1130-05582006000100002-1", "oral-and-maxillofacial-surgery"),
        ("S1139-13752006000100002-1", "nephrology"),
        ("S0465-546X2006000100002-1", "other"),
    ],
)
def test_the_journal_gives_the_specialty(document_id: str, specialty: str) -> None:
    assert specialty_of(document_id) == specialty


PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "codiesp-v4-train-dev-background.zip"


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the CodiEsp corpus is not in ../shared/data")
@pytest.mark.parametrize(
    ("options", "num_codes", "num_evident"),
    [("", 8316, 0), ("?lang=es", 8316, 8316), ("?lang=es&task=P", 2367, 2367)],
)
def test_the_published_corpus_is_read_whole(options: str, num_codes: int, num_evident: int) -> None:
    records = list(read_records(f"codiesp:{PUBLISHED}{options}", max_rejects=0))
    assert [record.split for record in records].count(Split.TRAIN) == 500
    assert [record.split for record in records].count(Split.DEV) == 250
    assert len(records) == 750
    codes = [code for record in records for code in record.codes]
    assert len(codes) == num_codes
    assert sum(bool(code.evidence) for code in codes) == num_evident
