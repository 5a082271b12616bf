"""Which codes the model can suggest, the words that stand for them.

The label space is made from training records alone; it never sees a held-out split.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from clinical_coding.artefact import sha256_of_json
from clinical_coding.bundle import Label
from clinical_coding.code_library import describe, load_icd10cm
from clinical_coding.codes import Code, CodeState, CodeSystem, split_key

__all__ = ["LabelSpace", "build_label_space"]


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The labels in the order of the model's outputs."""

    labels: tuple[Label, ...]
    terms: tuple[tuple[str, ...], ...]
    """For each label its description and inclusion terms; the bare code where there is no description."""
    index: dict[str, int]
    """Label key to position."""

    @property
    def sha256(self) -> str:
        """Hash of the ordered labels."""
        return sha256_of_json([label.model_dump(mode="json") for label in self.labels])

    def siblings(self) -> list[list[int]]:
        """For each label the others of its category: the codes it is confused with."""
        families = defaultdict(list)
        for position, label in enumerate(self.labels):
            families[(label.system, label.code[:3])].append(position)
        return [
            [other for other in families[(label.system, label.code[:3])] if other != position]
            for position, label in enumerate(self.labels)
        ]


def build_label_space(codes: Iterable[Code]) -> LabelSpace:
    """Make the label space of the codes that training records carry.

    Args:
        codes: The codes of every training record; those in state unknown found no label on their own.
    """
    releases: dict[str, Counter[str | None]] = defaultdict(Counter)
    for code in codes:
        if code.state is not CodeState.UNKNOWN:
            releases[code.key][code.release] += 1
    library = load_icd10cm()
    labels, terms = [], []
    for key in sorted(releases):
        system, number = split_key(key)
        release = releases[key].most_common(1)[0][0]
        description = describe(system, number, release)
        labels.append(Label(system=system, release=release, code=number, description=description))
        entry = library.get(number) if system is CodeSystem.ICD10CM else None
        terms.append((description or f"{system} {number}", *(entry.inclusion_terms if entry else ())))
    return LabelSpace(tuple(labels), tuple(terms), {label.key: at for at, label in enumerate(labels)})
