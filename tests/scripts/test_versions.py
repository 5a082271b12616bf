"""chartloop versions: compare, promote, rollback, history."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.comparisons import Comparison
from clinical_coding.data_directory import DataDirectory
from clinical_coding.registered_version import MODEL_NAME
from governance.registry import open_registry


@pytest.fixture
def store(trained_store: Any, tmp_path: Path) -> Path:
    """A data directory of the test's own with one trained version."""
    return Path(shutil.copytree(trained_store.data_dir, tmp_path / "store"))


@pytest.fixture
def reviewer(chartloop: Any, store: Path) -> str:
    told = chartloop("keys", "create", "--role", "reviewer", "--name", "rea", "--data-dir", store)
    return str(told.out.splitlines()[-1])


def test_a_version_is_compared_with_itself_on_what_its_training_logged(
    chartloop: Any, trained_store: Any, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "comparison.html"
    arguments = ("versions", "compare", "1", "candidate", "--data-dir", trained_store.data_dir)
    told = chartloop(*arguments, "--json", "--html", page)
    assert told.code == 0, told.err
    comparison = Comparison.model_validate(told.json)
    overall = trained_store.result.evaluation.overall
    assert comparison.overall("micro_f1").a == overall.micro_f1
    assert comparison.num_records == overall.num_records
    assert {row.difference for row in comparison.differences} == {0}
    assert "No difference shown between version 1 and version 1" in page.read_text()
    assert str(page) in told.err


def test_two_bundles_predict_the_records_that_are_given(
    chartloop: Any, trained_store: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = chartloop(
        "versions", "compare", "1", tiny_bundle, "--records", "sample:40?seed=9", "--split", "dev",
        "--data-dir", trained_store.data_dir,
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "No difference shown between bundle" in told.out.splitlines()[-1]
    for dimension in ("specialty", "setting", "complexity", "payer"):
        assert f"code-over-code accuracy by {dimension}" in told.out


def test_the_tables_fit_100_columns(chartloop: Any, trained_store: Any) -> None:
    told = chartloop(
        "versions", "compare", "1", "1", "--records", "sample:40?seed=9", "--data-dir", trained_store.data_dir
    )
    *tables, _, _ = told.out.splitlines()
    assert max(len(line.rstrip()) for line in tables) <= 100


def test_records_that_a_version_was_trained_on_are_refused(chartloop: Any, trained_store: Any) -> None:
    arguments = ("--records", "sample:60", "--data-dir", trained_store.data_dir)
    told = chartloop("versions", "compare", "1", "1", *arguments)
    assert told.code == 2
    assert "evaluation records leaked into the training of version 1" in told.err
    assert chartloop("versions", "compare", "1", "1", *arguments, "--split", "dev").code == 0


def test_promote_roll_back_and_look_back(chartloop: Any, store: Path, reviewer: str) -> None:
    client = open_registry(DataDirectory.locate(store))
    (first,) = client.search_model_versions(f"name = '{MODEL_NAME}'")
    client.create_model_version(MODEL_NAME, first.source, first.run_id, tags=first.tags)
    for reference, reason in (("candidate", "first"), ("2", "[bold]better[/bold] on dev")):
        told = chartloop("versions", "promote", reference, "--reason", reason, "--key", reviewer, "--data-dir", store)
        assert told.code == 0, told.err
    assert "version 2 is champion, in the place of version 1 (promote 2 by rea)" in told.err
    told = chartloop("versions", "rollback", "--reason", "over-codes", "--key", reviewer, "--data-dir", store)
    assert "version 1 is champion, in the place of version 2 (rollback 3 by rea)" in told.err
    history = chartloop("versions", "history", "--json", "--data-dir", store).json
    assert [(row["kind"], row["version_number"], row["principal"]) for row in history] == [
        ("rollback", 1, "rea"),
        ("promote", 2, "rea"),
        ("promote", 1, "rea"),
    ]
    table = chartloop("versions", "history", "--data-dir", store).out
    assert "[bold]better[/bold] on dev" in table
    assert "over-codes" in table


def test_the_list_mends_an_alias_that_a_crash_left_behind(chartloop: Any, store: Path, reviewer: str) -> None:
    chartloop("versions", "promote", "1", "--reason", "first", "--key", reviewer, "--data-dir", store)
    open_registry(DataDirectory.locate(store)).delete_registered_model_alias(MODEL_NAME, "champion")
    (version,) = chartloop("versions", "list", "--json", "--data-dir", store).json
    assert version["aliases"] == ["candidate", "champion"]


def test_the_list_is_shown_when_the_champion_is_lost(chartloop: Any, store: Path, reviewer: str) -> None:
    client = open_registry(DataDirectory.locate(store))
    (first,) = client.search_model_versions(f"name = '{MODEL_NAME}'")
    client.create_model_version(MODEL_NAME, first.source, first.run_id, tags=first.tags)
    chartloop("versions", "promote", "2", "--reason", "second", "--key", reviewer, "--data-dir", store)
    client.delete_model_version(MODEL_NAME, "2")
    told = chartloop("versions", "list", "--json", "--data-dir", store)
    assert told.code == 0
    assert [version["number"] for version in told.json] == [1]
    assert "warning: version 2, champion by promotion 1, cannot bear the alias" in told.err


def test_the_list_makes_no_ledger(chartloop: Any, store: Path) -> None:
    assert chartloop("versions", "list", "--data-dir", store).code == 0
    assert not (store / "chartloop.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "1", "--reason", " "), "reason has 0 characters"),
        (("promote", "9", "--reason", "x"), "'9' is not registered"),
        (("rollback", "--reason", "x"), "no version was promoted yet"),
        (("compare", "1", "9"), "'9' is not registered"),
        (("compare", "1", "1", "--split", "dev"), "--split and --rejects are of the records that --records names"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    chartloop: Any, store: Path, reviewer: str, arguments: tuple[str, ...], message: str
) -> None:
    key = () if arguments[0] == "compare" else ("--key", reviewer)
    told = chartloop("versions", *arguments, *key, "--data-dir", store)
    assert told.code == 2
    assert message in told.err
    assert told.err.startswith("error:")


def test_the_local_coder_promotes_nothing(chartloop: Any, store: Path) -> None:
    told = chartloop("versions", "promote", "1", "--reason", "mine", "--data-dir", store)
    assert told.code == 2
    assert "principal 'local' is a coder; promoting and rolling back need a reviewer or admin" in told.err
    assert json.loads(chartloop("versions", "history", "--json", "--data-dir", store).out) == []
