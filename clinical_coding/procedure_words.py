"""Words of our own for procedure and supply codes whose official descriptors are licensed or not at hand.

CPT descriptors belong to the American Medical Association and are not here: what stands beside
a CPT number is a phrase of ours, as it is for the HCPCS and ICD-10-PCS numbers of the samples.
"""

from typing import Final

from clinical_coding.codes import CodeSystem

__all__ = ["WORDS"]

WORDS: Final[dict[tuple[CodeSystem, str], str]] = {}
