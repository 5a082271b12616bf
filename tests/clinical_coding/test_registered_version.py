import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.registered_version import EvaluatedOn, VersionLineage

LINEAGE = VersionLineage(
    bundle_sha256="1" * 64,
    manifest_sha256="2" * 64,
    base_model="tiny@1",
    code_commit=None,
    evaluated_on=EvaluatedOn.HELD_OUT,
    metrics={"micro_f1": 0.5},
)


@given(
    st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False)), st.none() | st.just("abc")
)
def test_tags_hold_the_lineage_exactly(metrics: dict[str, float], code_commit: str | None) -> None:
    lineage = LINEAGE.model_copy(update={"metrics": metrics, "code_commit": code_commit})
    assert VersionLineage.from_tags(lineage.to_tags() | {"added by": "a person"}) == lineage


def test_a_tag_that_is_missing_or_malformed_is_named() -> None:
    tags = LINEAGE.to_tags()
    with pytest.raises(ValueError, match="bundle_sha256: Field required"):
        VersionLineage.from_tags({name: value for name, value in tags.items() if name != "bundle_sha256"})
    with pytest.raises(ValueError, match=r"metrics\.micro_f1"):
        VersionLineage.from_tags(tags | {"metric.micro_f1": "high"})
