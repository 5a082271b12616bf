from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.codes import Code, CodeState, EvidenceSpan, Provenance, split_key
from clinical_coding.decisions import Adjudication, Verdict
from clinical_coding.records import CodedRecord, Encounter, Note, Unlisted
from feedback.labels import Labels, labels_of

START = datetime(2026, 5, 1, tzinfo=UTC)
KEYS = ("icd10cm:I10", "icd10cm:E11.9", "icd10cm:R07.9", "cpt:99213", "cpt:99214")


def ruling(
    identifier: str,
    codes: dict[str, str],
    *,
    audit: str | None = None,
    override: str | None = None,
    verdict: str = "both-wrong",
    number: int = 1,
    minute: int = 0,
) -> Adjudication:
    return Adjudication(
        adjudication_id=identifier,
        override_id=override or (None if audit else f"o-{identifier}"),
        audit_draw_id=audit,
        verdict=Verdict(verdict),
        codes=tuple(
            Code(system=split_key(key)[0], code=split_key(key)[1], state=CodeState(state))
            for key, state in codes.items()
        ),
        citation="ICD-10-CM guideline I.B.4",
        round=number,
        adjudicated_at=START + timedelta(minutes=minute),
    )


def states(labels: Labels) -> dict[str, str]:
    return {code.key: code.state.value for code in labels.codes}


def named_by(labels: Labels) -> dict[str, str | None]:
    return {code.key: code.provenance.adjudication_id for code in labels.codes}


def test_what_is_adjudicated_is_learnt_and_all_else_is_unknown() -> None:
    labels = labels_of([ruling("a", {KEYS[0]: "negative", KEYS[4]: "positive"})], named=KEYS)
    assert states(labels) == {
        KEYS[0]: "negative",
        KEYS[1]: "unknown",
        KEYS[2]: "unknown",
        KEYS[3]: "unknown",
        KEYS[4]: "positive",
    }
    assert {key for key, named in named_by(labels).items() if named == "a"} == {KEYS[0], KEYS[4]}
    assert labels.unlisted is Unlisted.UNKNOWN
    assert labels.teaches
    assert labels.conflicts == ()


def test_an_unclear_policy_teaches_nothing() -> None:
    labels = labels_of([ruling("a", {}, verdict="policy-unclear")], named=KEYS)
    assert set(states(labels).values()) == {"unknown"}
    assert not labels.teaches
    audited = labels_of([ruling("a", {}, audit="d", verdict="policy-unclear")], named=KEYS)
    assert audited.unlisted is Unlisted.UNKNOWN


def test_an_audited_encounter_is_complete() -> None:
    labels = labels_of([ruling("a", dict.fromkeys(KEYS[:3], "positive"), audit="d")], named=KEYS[:3])
    assert states(labels) == dict.fromkeys(KEYS[:3], "positive")
    assert labels.unlisted is Unlisted.ABSENT


def test_a_dispute_that_an_audit_does_not_settle_stays_open() -> None:
    labels = labels_of([ruling("a", {KEYS[0]: "positive"}, audit="d")], named=KEYS[:2])
    assert states(labels) == {KEYS[0]: "positive", KEYS[1]: "unknown"}


@pytest.mark.parametrize("later_verdict", ["both-wrong", "policy-unclear"])
def test_a_later_round_replaces_the_earlier_ones(later_verdict: str) -> None:
    codes = {KEYS[0]: "positive"} if later_verdict == "both-wrong" else {}
    first = ruling("a", {KEYS[0]: "negative", KEYS[1]: "positive"}, override="o")
    # Its clock ran behind: the round counts.
    second = ruling("b", codes, override="o", number=2, minute=-5, verdict=later_verdict)
    labels = labels_of([second, first], named=KEYS[:2])
    assert states(labels) == {KEYS[0]: "positive" if codes else "unknown", KEYS[1]: "unknown"}
    assert labels.conflicts == ()


def test_a_contradiction_is_unknown_and_counted() -> None:
    one = ruling("a", {KEYS[0]: "negative", KEYS[1]: "positive"})
    other = ruling("b", {KEYS[0]: "positive", KEYS[1]: "positive"}, minute=1)
    labels = labels_of([one, other], named=())
    assert states(labels) == {KEYS[0]: "unknown", KEYS[1]: "positive"}
    assert labels.conflicts == (KEYS[0],)
    assert named_by(labels)[KEYS[1]] == "b", "of two that agree the newer one is named"


def test_an_audit_that_leaves_a_code_out_contradicts_who_found_it_right() -> None:
    audit = ruling("a", {KEYS[0]: "positive"}, audit="d")
    override = ruling("b", {KEYS[1]: "positive", KEYS[2]: "negative"}, minute=1)
    labels = labels_of([audit, override], named=KEYS[:3])
    assert states(labels) == {KEYS[0]: "positive", KEYS[1]: "unknown", KEYS[2]: "negative"}
    assert labels.conflicts == (KEYS[1],)


def test_a_code_that_an_adjudicator_left_open_is_unknown_even_on_a_complete_record() -> None:
    labels = labels_of([ruling("a", {KEYS[0]: "positive", KEYS[1]: "unknown"}, audit="d")], named=KEYS[:1])
    assert states(labels) == {KEYS[0]: "positive", KEYS[1]: "unknown"}


def test_modifiers_and_evidence_are_kept() -> None:
    span = EvidenceSpan(note_id="n", start=0, end=4)
    codes = (
        Code(system="cpt", code="20610", modifiers=("RT",), evidence=(span,)),
        Code(system="cpt", code="20610", modifiers=("LT",)),
    )
    said = ruling("a", {}).model_copy(update={"codes": codes})
    kept = labels_of([said], named=["cpt:20610"]).codes
    assert [(code.modifiers, code.evidence) for code in kept] == [(("LT",), ()), (("RT",), (span,))]
    assert all(code.provenance == Provenance(source="adjudication", adjudication_id="a") for code in kept)


@st.composite
def all_rulings(draw: st.DrawFn) -> Sequence[Adjudication]:
    """Rounds of up to three override cases and one audit case, shuffled, contradictions included."""
    made = []
    for case in draw(st.lists(st.sampled_from(["o1", "o2", "o3", "d"]), unique=True)):
        for number in range(1, draw(st.integers(1, 3)) + 1):
            verdict = draw(st.sampled_from([verdict.value for verdict in Verdict]))
            codes = draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["positive", "negative"])))
            made.append(
                ruling(
                    f"{case}-{number}",
                    {} if verdict == "policy-unclear" else codes,
                    audit=case if case == "d" else None,
                    override=None if case == "d" else case,
                    verdict=verdict,
                    number=number,
                    minute=draw(st.integers(0, 9)),
                )
            )
    return draw(st.permutations(made))


@given(said=all_rulings(), named=st.sets(st.sampled_from(KEYS)))
def test_only_an_adjudication_makes_a_code_positive_or_negative(said: Sequence[Adjudication], named: set[str]) -> None:
    labels = labels_of(said, named=named)
    by_id = {one.adjudication_id: one for one in said}
    for code in labels.codes:
        if code.state is CodeState.UNKNOWN:
            assert code.provenance.adjudication_id is None
            continue
        assert code.provenance.adjudication_id is not None
        source = by_id[code.provenance.adjudication_id]
        assert source.verdict is not Verdict.POLICY_UNCLEAR
        assert (code.key, code.state) in {(one.key, one.state) for one in source.codes}
        rounds = [one.round for one in said if one.override_id == source.override_id]
        assert source.round == max(rounds), "an earlier round was replaced"
    assert named <= states(labels).keys(), "what was suggested or decided is never an implied negative"
    last = {one.override_id or one.audit_draw_id: one for one in sorted(said, key=lambda one: one.round)}
    audit = last.get("d")
    is_complete = audit is not None and audit.verdict is not Verdict.POLICY_UNCLEAR
    assert (labels.unlisted is Unlisted.ABSENT) == is_complete


@given(said=all_rulings(), named=st.sets(st.sampled_from(KEYS)), order=st.randoms())
def test_labels_make_a_record_and_depend_on_no_order(
    said: Sequence[Adjudication], named: set[str], order: Random
) -> None:
    labels = labels_of(said, named=named)
    shuffled = list(said)
    order.shuffle(shuffled)
    assert labels_of(shuffled, named=sorted(named)) == labels
    encounter, note = Encounter(setting="outpatient", specialty="cardiology"), Note(note_id="n", text="x")
    CodedRecord(record_id="r", patient_id="p", encounter=encounter, notes=(note,), codes=labels.codes)
