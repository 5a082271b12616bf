"""The label space and the labels that a step trains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.codes import Code
from training.label_sampler import LabelSampler
from training.label_space import LabelSpace, build_label_space


def code(key: str, **fields: object) -> Code:
    system, _, number = key.partition(":")
    return Code.model_validate({"system": system, "code": number} | fields)


@pytest.fixture(scope="module")
def label_space() -> LabelSpace:
    codes = [
        code("icd10cm:E11.9", release="2026-04"),
        code("icd10cm:E11.65", state="negative"),
        code("icd10cm:I10", state="unknown"),
        code("icd10cm:J18.9", release="2025-10"),
        code("icd10cm:J18.9", release="2026-04"),
        code("icd10cm:J18.9", release="2026-04", state="unknown"),
        code("icd10cm:J18.9", release="2026-04"),
        code("cpt:01999"),
    ]
    return build_label_space(codes)


def test_labels_are_the_stated_codes_in_order(label_space: LabelSpace) -> None:
    keys = [label.key for label in label_space.labels]
    assert keys == ["cpt:01999", "icd10cm:E11.65", "icd10cm:E11.9", "icd10cm:J18.9"]
    assert label_space.index == {key: at for at, key in enumerate(keys)}


def test_a_code_known_to_nobody_is_no_label(label_space: LabelSpace) -> None:
    assert "icd10cm:I10" not in label_space.index


def test_a_label_has_the_release_it_is_most_often_judged_by(label_space: LabelSpace) -> None:
    assert label_space.labels[label_space.index["icd10cm:J18.9"]].release == "2026-04"


def test_words_stand_for_each_label(label_space: LabelSpace) -> None:
    terms = dict(zip(label_space.index, label_space.terms, strict=True))
    assert terms["icd10cm:E11.9"][0] == "Type 2 diabetes mellitus without complications"
    # Where there is no description, the bare code stands for itself.
    assert terms["cpt:01999"] == ("cpt 01999",)


def test_siblings_share_a_category(label_space: LabelSpace) -> None:
    assert label_space.siblings() == [[], [2], [1], []]


def test_the_hash_is_of_labels_and_order(label_space: LabelSpace) -> None:
    turned = LabelSpace(label_space.labels[::-1], label_space.terms[::-1], {})
    assert len({label_space.sha256, turned.sha256, build_label_space([code("cpt:01999")]).sha256}) == 3


FAMILIES = st.lists(st.integers(0, 12), min_size=1, max_size=60)


def siblings_of(families: list[int]) -> list[list[int]]:
    return [[b for b, f in enumerate(families) if f == family and b != a] for a, family in enumerate(families)]


@settings(deadline=None)
@given(families=FAMILIES, num_sampled=st.integers(8, 30), seed=st.integers(0, 99), data=st.data())
def test_the_sample_holds_what_is_stated_and_weighs_as_many_as_there_are(
    families: list[int], num_sampled: int, seed: int, data: st.DataObject
) -> None:
    siblings = siblings_of(families)
    stated = data.draw(st.sets(st.integers(0, len(families) - 1), max_size=5))
    labels_S, weights_S = LabelSampler(siblings, num_sampled=num_sampled, seed=seed).sample(stated, step=3)
    certain = stated | {sibling for label in stated for sibling in siblings[label]}
    assert len(set(labels_S.tolist())) == len(labels_S)
    assert set(labels_S[: len(certain)].tolist()) == certain
    assert (weights_S[: len(certain)] == 1).all()
    # Together they weigh as many labels as there are: nothing counts twice, nothing is forgotten.
    assert weights_S.sum() == pytest.approx(len(families), rel=1e-5)
    assert len(labels_S) <= max(num_sampled, len(certain) + num_sampled // 4)


def test_the_sample_depends_on_seed_and_step_alone() -> None:
    siblings = siblings_of([0, 0, *range(1, 100)])
    sampler = LabelSampler(siblings, num_sampled=20, seed=1)
    first = sampler.sample({0}, step=5)[0].tolist()
    sampler.sample({7}, step=6)
    assert sampler.sample({0}, step=5)[0].tolist() == first
    assert LabelSampler(siblings, num_sampled=20, seed=1).sample({0}, step=5)[0].tolist() == first
    assert sampler.sample({0}, step=6)[0].tolist() != first
    assert LabelSampler(siblings, num_sampled=20, seed=2).sample({0}, step=5)[0].tolist() != first


def test_the_sampled_loss_is_unbiased() -> None:
    num_labels, num_steps = 80, 3000
    loss_L = np.random.default_rng(0).exponential(size=num_labels)
    sampler = LabelSampler(siblings_of([0, 0, *range(1, num_labels - 1)]), num_sampled=16, seed=0)
    estimates = []
    for step in range(num_steps):
        labels_S, weights_S = sampler.sample({0}, step=step)
        estimates.append((loss_L[labels_S] * weights_S).sum())
    # Three standard errors of the mean; the draws are seeded, so this holds always or never.
    standard_error = np.std(estimates) / np.sqrt(num_steps)
    assert np.mean(estimates) == pytest.approx(loss_L.sum(), abs=3 * standard_error)
    assert standard_error < 0.01 * loss_L.sum()
