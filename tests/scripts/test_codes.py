"""``chartloop codes`` import, list, show, search, diff and notes as a person gives them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from clinical_coding.artefact import sha256_of_file
from scripts.codes import app

OLD = [("I21", 0, "Acute myocardial infarction"), ("I214", 1, "NSTEMI"), ("I219", 1, "Infarction, unspecified")]
NEW = [("I21", 0, "Acute myocardial infarction"), ("I214", 1, "NSTEMI, changed"), ("I21B", 1, "Other infarction")]
GOLDEN = Path(__file__).parents[1] / "golden" / "bundle.json"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def invoke(*arguments: object) -> Result:
        runner = CliRunner(env={"COLUMNS": "400"})
        return runner.invoke(app, [*map(str, arguments), "--data-dir", str(tmp_path / "data")])

    return invoke


@pytest.fixture
def order(tmp_path: Path) -> Callable[[str, Sequence[tuple[str, int, str]]], Path]:
    """Writes an order file in the official layout."""

    def write(name: str, rows: Sequence[tuple[str, int, str]]) -> Path:
        lines = (
            f"{number:05} {code:<7} {valid} {words:<60} {words}" for number, (code, valid, words) in enumerate(rows, 1)
        )
        (tmp_path / name).write_text("\r\n".join(lines) + "\r\n")
        return tmp_path / name

    return write


@pytest.fixture
def two_releases(run: Run, order: Any) -> Run:
    for name, rows, start in (("old.txt", OLD, "2027-10-01"), ("new.txt", NEW, "2028-04-01")):
        told = run("import", "icd10cm", order(name, rows), "--release", start[:7], "--effective-from", start)
        assert told.exit_code == 0, told.exception
        assert f"icd10cm {start[:7]}" in told.stderr and "2 codes, 1 headings" in told.stderr
        assert "without the tabular XML" in told.stderr
    return run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    labels = [
        {"system": "icd10cm", "release": "2027-10", "code": code, "description": "words"} for code in ("I21.4", "I10")
    ]
    (folder / "labels.json").write_text(json.dumps(labels))
    hashes = {"labels.json": sha256_of_file(folder / "labels.json")}
    (folder / "bundle.json").write_text(json.dumps(json.loads(GOLDEN.read_text()) | {"files": hashes}))
    return folder


def test_the_embedded_release_is_listed_with_its_codes(run: Run) -> None:
    told = json.loads(run("list", "--json").stdout)
    assert [(one["system"], one["name"], one["effective_to"]) for one in told] == [("icd10cm", "2026-04", "2026-09-30")]
    assert told[0]["counts"]["codes"] == 74_719
    assert "embedded" in run("list").stdout


def test_imported_releases_are_listed_and_imported_once(two_releases: Run, order: Any) -> None:
    told = two_releases("list").stdout
    assert "2027-10-01 2028-03-31" in told and "2028-04-01 next release" in told
    arguments = ("--release", "2028-04", "--effective-from", "2028-04-01", "--json")
    again = json.loads(two_releases("import", "icd10cm", order("again.txt", NEW), *arguments).stdout)
    assert again["is_new"] is False and again["name"] == "2028-04"


def test_what_is_wrong_is_told_with_the_remedy(run: Run, order: Any) -> None:
    file = order("icd10cm_order_2026.txt", OLD)
    for arguments, message in [
        (
            ("import", "icd9", file, "--release", "2027-10", "--effective-from", "2027-10-01"),
            "system 'icd9' is unknown",
        ),
        (("import", "icd10cm", file, "--release", "2027-10", "--effective-from", "2027-10-01"), "of fiscal year 2026"),
        (("diff", "2026-04", "2030-10"), "release '2030-10' of icd10cm is not held; held are 2026-04"),
        (("show", "chest pain"), "has the form of no code"),
        (("search", "knee", "--system", "hcpcs"), "no release of hcpcs is held"),
        (("notes", "--kind", "exclude"), "kind 'exclude' is unknown"),
    ]:
        told = run(*arguments)
        assert isinstance(told.exception, ValueError) and message in str(told.exception), arguments


def test_a_code_is_shown_with_words_dates_tree_and_notes(two_releases: Run) -> None:
    card = json.loads(two_releases("show", "i214", "--on", "2026-05-01", "--json").stdout)
    assert (card["system"], card["code"], card["standing"], card["release"]) == ("icd10cm", "I21.4", "valid", "2026-04")
    assert [(one["release"], one["standing"]) for one in card["releases"]] == [
        ("2026-04", "valid"),
        ("2027-10", "valid"),
        ("2028-04", "valid"),
    ]
    assert {note["kind"] for note in card["notes"]} >= {"excludes2", "use-additional-code"}
    assert card["parents"] == [{"code": "I21", "description": "Acute myocardial infarction"}]
    told = two_releases("show", "I21.9", "--on", "2028-05-01").stdout
    assert "deleted, by release 2028-04" in told and "2027-10  2027-10-01 to 2028-03-31: valid" in told


def test_a_base_code_is_shown_with_its_seventh_characters_and_conflicts(run: Run) -> None:
    card = json.loads(run("show", "S52.521", "--json").stdout)
    assert card["standing"] == "not-a-leaf" and "A" in card["seventh_characters"]
    assert {"A", "D", "S"} <= card["seventh_characters"].keys()
    conflicts = json.loads(run("show", "E10.9", "--json").stdout)["conflicts"]
    assert any(conflict["owner"] == "E11" for conflict in conflicts)


def test_codes_of_systems_without_a_release_are_shown_by_their_form_alone(run: Run) -> None:
    told = run("show", "99214").stdout
    assert "cpt 99214" in told and "no release of its system is held" in told


def test_search_finds_by_words_and_by_number(run: Run) -> None:
    hits = json.loads(run("search", "type", "2", "diabetes", "kidney complication", "--limit", "3", "--json").stdout)
    assert hits[0]["code"].startswith("E11.2") and len(hits) == 3
    assert "Non-ST elevation" in run("search", "i214").stdout
    assert "nothing is found" in run("search", "xyzzy").stdout


def test_a_diff_names_codes_labels_rules_and_predictions(two_releases: Run, bundle: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "rules:\n- id: infarction-type\n  effective_from: 2026-01-01\n  when: {any: ['icd10cm:I21-I22']}\n"
        "  severity: warning\n  explanation: words\n  reason: words\n  source: words\n"
    )
    predictions = tmp_path / "predictions.jsonl"
    codes = [
        {"system": "icd10cm", "code": code, "confidence": 0.9, "suggested": suggested}
        for code, suggested in (("I21.9", True), ("I21.B", False), ("I10", True))
    ]
    predictions.write_text(json.dumps({"record_id": "r1", "version": "1", "codes": codes}) + "\n")
    arguments = ("--version", bundle, "--policy", policy, "--predictions", predictions)
    told = json.loads(two_releases("diff", "2027-10", "2028-04", *arguments, "--json").stdout)
    assert [change["code"] for change in told["new"]] == ["I21.B"]
    assert [change["code"] for change in told["deleted"]] == ["I21.9"]
    assert [(change["code"], change["parts"]) for change in told["revised"]] == [("I21.4", ["description"])]
    assert told["labels"] == {"icd10cm:I21.4": ["revised"]}
    assert told["policies"] == {"infarction-type": ["I21.B", "I21.9", "I21.4"]}
    assert told["predictions"] == {"icd10cm:I21.9": ["deleted"]}
    printed = two_releases("diff", "2027-10", "2028-04", *arguments).stdout
    assert "NSTEMI -> NSTEMI, changed (description)" in printed
    assert "labels of the version touched: 1" in printed and "infarction-type: I21.B, I21.9, I21.4" in printed


def raise_of(told: Any) -> None:
    """What a command raised, which ``chartloop`` shows as one message."""
    assert told.exception is not None
    raise told.exception


def test_a_diff_without_a_version_says_so(two_releases: Run, tmp_path: Path) -> None:
    told = two_releases("diff", "2027-10", "2028-04")
    assert told.exit_code == 0
    assert "no version is registered" in told.output


def test_a_policy_that_is_named_must_exist(two_releases: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.yaml cannot be read \(No such file or directory\); name another"):
        raise_of(two_releases("diff", "2027-10", "2028-04", "--policy", tmp_path / "absent.yaml"))


@pytest.mark.parametrize("content", [b"\xa7\x00", b'{"record_id": 1}', b"{"])
def test_a_prediction_file_that_is_none_is_named_with_its_line(
    two_releases: Run, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"predictions\.jsonl, line 1: .*; give a prediction file that"):
        raise_of(two_releases("diff", "2027-10", "2028-04", "--predictions", path))


@pytest.mark.parametrize("words", ["", '"*(', "?!"])
def test_a_search_for_nothing_is_refused(two_releases: Run, words: str) -> None:
    with pytest.raises(ValueError, match="hold no letter or digit"):
        raise_of(two_releases("search", words))


@pytest.mark.parametrize("kind", ["excludes1", "code-first"])
def test_notes_are_counted_and_those_without_codes_listed(run: Run, kind: str) -> None:
    told = json.loads(run("notes", "--kind", kind, "--json").stdout)
    assert told["blocks"] == told["parsed"] + told["unparsed"]
    lines = run("notes", "--kind", kind, "--unparsed").stdout.splitlines()
    assert len(lines) == told["unparsed"]
    if kind == "excludes1":
        assert told["blocks"] == 2644 and told["parsed"] / told["blocks"] >= 0.97
