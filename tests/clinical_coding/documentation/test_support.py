import pytest

from clinical_coding.codes import EvidenceSpan
from clinical_coding.documentation import Assertion, ReadNote, Support, finding_of, read_note, support
from clinical_coding.documentation.support_rules import RULES
from clinical_coding.findings import Severity
from clinical_coding.records import Note, Setting

OUT, ED, DAY, IN = Setting.OUTPATIENT, Setting.EMERGENCY, Setting.SAME_DAY_SURGERY, Setting.INPATIENT


def judge(key: str, *texts: tuple[str, str, str], setting: Setting) -> Support:
    """Judge a code by one mention in each note: type, text, mention."""
    notes: dict[str, ReadNote] = {}
    spans = []
    for number, (kind, text, mention) in enumerate(texts):
        notes[f"n{number}"] = read_note(Note(note_id=f"n{number}", type=kind, text=text))
        if mention:
            start = text.index(mention)
            spans.append(EvidenceSpan(note_id=f"n{number}", start=start, end=start + len(mention)))
    return support(key, spans, notes, setting=setting)


@pytest.mark.parametrize(
    ("key", "text", "mention", "setting", "rule"),
    [
        # I.A.19: the statement that the condition exists.
        ("icd10cm:J18.9", "Pneumonia of the left lower lobe.", "Pneumonia", OUT, None),
        ("icd10cm:J18.9", "No pneumonia.", "pneumonia", OUT, "negated"),
        ("icd10cm:J18.9", "Pneumonia was ruled out.", "Pneumonia", IN, "negated"),
        ("icd10cm:N91.2", "No menses since May.", "menses", OUT, None),
        ("icd10cm:J18.9", "Return if pneumonia worsens.", "pneumonia", ED, "hypothetical"),
        ("icd10cm:Z12.11", "Screening for colon cancer.", "colon cancer", OUT, None),
        # IV.H: outside hospital stays.
        ("icd10cm:J18.9", "Assessment: possible pneumonia", "pneumonia", OUT, "uncertain-outpatient"),
        ("icd10cm:J18.9", "Assessment: probable pneumonia", "pneumonia", ED, "uncertain-outpatient"),
        ("icd10cm:J18.9", "Postoperative diagnosis: suspected pneumonia", "pneumonia", DAY, "uncertain-outpatient"),
        ("icd10cm:R05.9", "Cough, possible pneumonia", "Cough", OUT, None),
        ("icd10cm:Z20.828", "Possible exposure to measles.", "exposure", OUT, None),
        ("icd10cm:H40.001", "Suspected glaucoma.", "glaucoma", OUT, None),
        # I.C.21.c.4: relatives.
        ("icd10cm:C50.911", "Mother had breast cancer.", "breast cancer", OUT, "family-history"),
        ("icd10cm:Z80.3", "Mother had breast cancer.", "breast cancer", OUT, None),
        ("icd10cm:Z20.1", "Her father has tuberculosis.", "tuberculosis", OUT, None),
        # IV.J and III.A: what is over.
        ("icd10cm:J18.9", "History of pneumonia.", "pneumonia", OUT, "historical"),
        ("icd10cm:Z87.01", "History of pneumonia.", "pneumonia", OUT, None),
        ("icd10cm:I10", "History of hypertension.", "hypertension", OUT, None),
        ("icd10cm:E11.9", "Hx of DM2.", "DM2", IN, None),
        ("icd10cm:C61", "History of prostate cancer.", "prostate cancer", OUT, "historical"),
        ("icd10cm:I25.2", "Prior MI.", "MI", OUT, None),
        ("icd10cm:S72.001D", "S/p hip fracture.", "hip fracture", OUT, None),
        ("icd10cm:S72.001A", "S/p hip fracture.", "hip fracture", OUT, "historical"),
        ("icd10cm:S72.002A", "Admitted s/p fall with left hip fracture.", "left hip fracture", IN, None),
        ("icd10cm:D86.9", "History of sarcoidosis.", "sarcoidosis", OUT, None),
        ("icd10cm:F10.21", "History of alcohol dependence, sober for years.", "alcohol dependence", OUT, None),
        ("icd10cm:F33.42", "History of recurrent depression.", "recurrent depression", OUT, None),
        ("icd10cm:F10.20", "History of alcohol dependence.", "alcohol dependence", OUT, "historical"),
        # Signs are what is coded where a diagnosis is uncertain; shock and sepsis are none.
        ("icd10cm:R07.9", "Evaluated for chest pain.", "chest pain", OUT, None),
        ("icd10cm:R65.21", "Possible septic shock.", "septic shock", ED, "uncertain-outpatient"),
        ("icd10cm:R07.9", "Denies chest pain.", "chest pain", OUT, "negated"),
        # I.C.21.c.6 and I.C.21.c.8: what was ruled out, and what has not come back.
        ("icd10cm:Z05.1", "Sepsis was ruled out.", "Sepsis", IN, None),
        ("icd10cm:Z08", "No evidence of recurrent disease.", "recurrent disease", OUT, None),
        ("icd10cm:Z87.891", "No history of smoking.", "smoking", OUT, "negated"),
        # Procedures and visits.
        ("cpt:45378", "Colonoscopy in 2015.", "Colonoscopy", OUT, "historical"),
        ("cpt:45378", "Colonoscopy was done today.", "Colonoscopy", OUT, None),
        ("cpt:90471", "Risk of influenza; vaccine given.", "vaccine", OUT, None),
        ("cpt:99281", "No physician evaluation was required.", "physician evaluation", ED, None),
        ("hcpcs:J1885", "No ketorolac given.", "ketorolac", ED, "negated"),
    ],
)  # fmt: skip
def test_one_mention(key: str, text: str, mention: str, setting: Setting, rule: str | None) -> None:
    found = judge(key, ("note", text, mention), setting=setting)
    assert (found.stands, found.rule) == (rule is None, rule)
    assert (found.source is None) == found.stands
    assert len(found.assertions) == 1


@pytest.mark.parametrize(
    ("kind", "text", "rule"),
    [
        ("discharge-summary", "Discharge diagnosis: probable pneumonia", None),
        ("discharge-summary", "Hospital Course: treated for likely pneumonia.", None),
        ("Discharge Summary", "probable pneumonia", None),
        ("note", "DISCHARGE SUMMARY, general medicine\nprobable pneumonia", None),
        ("note", "Final Diagnosis: suspected pneumonia", None),
        ("progress-note", "A/P: suspected pneumonia", None),
        ("discharge-summary", "ED Course: possible pneumonia, treated.", "uncertain-not-at-discharge"),
        ("discharge-summary", "HPI: came with possible pneumonia.", "uncertain-not-at-discharge"),
        ("discharge-summary", "Admission diagnosis: possible pneumonia", "uncertain-not-at-discharge"),
        ("history-and-physical", "Assessment: possible pneumonia", "uncertain-not-at-discharge"),
        ("emergency-note", "Assessment: possible pneumonia", "uncertain-not-at-discharge"),
        ("note", "possible pneumonia", "uncertain-not-at-discharge"),
        ("progress-note", "HPI: possible pneumonia", "uncertain-not-at-discharge"),
    ],
)
def test_uncertain_in_hospital_counts_at_discharge(kind: str, text: str, rule: str | None) -> None:
    assert judge("icd10cm:J18.9", (kind, text, "pneumonia"), setting=IN).rule == rule


def test_the_assessment_of_an_earlier_note_is_not_at_discharge() -> None:
    earlier = ("progress-note", "Assessment: possible pneumonia", "pneumonia")
    last = ("progress-note", "Assessment: bronchitis", "")
    assert judge("icd10cm:J18.9", earlier, last, setting=IN).rule == "uncertain-not-at-discharge"
    assert judge("icd10cm:J18.9", last, earlier, setting=IN).stands


@pytest.mark.parametrize("code", ["B20", "Z21", "A92.5", "U07.1", "J09.X1", "J10.1"])
@pytest.mark.parametrize("setting", [OUT, IN])
def test_some_diagnoses_are_coded_only_when_confirmed(code: str, setting: Setting) -> None:
    note = ("discharge-summary", "Discharge diagnosis: probable infection", "infection")
    assert judge(f"icd10cm:{code}", note, setting=setting).rule == "uncertain-never-coded"
    confirmed = ("discharge-summary", "Discharge diagnosis: infection", "infection")
    assert judge(f"icd10cm:{code}", confirmed, setting=setting).stands


def test_influenza_of_no_identified_virus_follows_the_general_rule() -> None:
    note = ("discharge-summary", "Discharge diagnosis: probable influenza", "influenza")
    assert judge("icd10cm:J11.1", note, setting=IN).stands


def test_one_supporting_mention_is_enough() -> None:
    found = judge(
        "icd10cm:J18.9",
        ("note", "Possible pneumonia.", "pneumonia"),
        ("note", "Pneumonia confirmed.", "Pneumonia"),
        setting=OUT,
    )
    assert found.stands
    assert found.assertions == (Assertion.UNCERTAIN, Assertion.AFFIRMED)


def test_of_several_reasons_the_one_to_act_on_is_told() -> None:
    found = judge(
        "icd10cm:J18.9",
        ("note", "No pneumonia.", "pneumonia"),
        ("note", "Possible pneumonia.", "pneumonia"),
        setting=OUT,
    )
    assert found.rule == "uncertain-outpatient"


def test_without_evidence_nothing_is_known() -> None:
    assert judge("icd10cm:J18.9", ("note", "No pneumonia.", ""), setting=OUT) == Support(
        stands=True, rule=None, source=None, assertions=()
    )


def test_the_guidelines_differ_by_setting() -> None:
    note = ("discharge-summary", "Final diagnosis: possible pneumonia", "pneumonia")
    outside, inside = (judge("icd10cm:J18.9", note, setting=setting) for setting in (OUT, IN))
    assert (outside.stands, inside.stands) == (False, True)
    assert outside.source is not None and "IV.H" in outside.source


@pytest.mark.parametrize(("setting", "section"), [(OUT, "IV.J"), (IN, "III.A")])
def test_previous_conditions_have_a_section_for_each_setting(setting: Setting, section: str) -> None:
    source = judge("icd10cm:J18.9", ("note", "History of pneumonia.", "pneumonia"), setting=setting).source
    assert source is not None and source.endswith(section)


def test_a_note_that_is_not_given_is_named() -> None:
    span = EvidenceSpan(note_id="n7", start=0, end=3)
    with pytest.raises(ValueError, match=r"'n7'.*every note"):
        support("icd10cm:I10", [span], {}, setting=OUT)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_findings(rule: str) -> None:
    judged = Support(stands=False, rule=rule, source=RULES[rule].source, assertions=(Assertion.NEGATED,))
    span = EvidenceSpan(note_id="n1", start=0, end=3)
    finding = finding_of("icd10cm:J18.9", judged, [span])
    assert finding.rule == rule
    assert finding.severity is Severity.WARNING
    assert finding.codes == ("icd10cm:J18.9",)
    assert finding.evidence == (span,)
    assert finding.fix and "Official Guidelines" in finding.source


def test_a_supported_code_gives_no_finding() -> None:
    judged = Support(stands=True, rule=None, source=None, assertions=())
    with pytest.raises(ValueError, match="is supported; make findings only"):
        finding_of("icd10cm:J18.9", judged, [])
