"""Which codes the model can suggest, the words that stand for them.

The label space is made from training records alone; it never sees a held-out split.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from clinical_coding.artefact import sha256_of_json
from clinical_coding.bundle import Label
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code, CodeState, split_key
from training.label_words import description_of, terms_of

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


def build_label_space(codes: Iterable[Code], *, systems: CodeSystems | None = None) -> LabelSpace:
    """Make the label space of the codes that training records carry.

    Args:
        codes: The codes of every training record; those in state unknown found no label on their own.
        systems: The releases whose words stand for the labels; the embedded one when None.
    """
    held = systems or CodeSystems.embedded()
    releases: dict[str, Counter[str | None]] = defaultdict(Counter)
    for code in codes:
        if code.state is not CodeState.UNKNOWN:
            releases[code.key][code.release] += 1
    labels, terms = [], []
    for key in sorted(releases):
        system, number = split_key(key)
        release = releases[key].most_common(1)[0][0]
        description = description_of(system, number, release=release, systems=held)
        labels.append(Label(system=system, release=release, code=number, description=description))
        terms.append(terms_of(system, number, description=description, release=release, systems=held))
    return LabelSpace(tuple(labels), tuple(terms), {label.key: at for at, label in enumerate(labels)})
