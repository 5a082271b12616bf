"""Edits: what coding rules have to say about the codes of an encounter (between stages 4 and 8 of the flow).

``check`` is one pure function from an encounter and its codes to findings. ``table`` names every rule;
``case`` sets an encounter out for them; the modules beside hold them by family. What the tabular list says is read
from the tabular list, what the guidelines say of groups of codes is data in ``conventions.yaml``, and what the
organisation and its payers say is its policy.
"""

from clinical_coding.edits.checking import check
from clinical_coding.edits.necessity import MedicalNecessity, load_necessity
from clinical_coding.edits.policy import Policy, PolicyRule
from clinical_coding.edits.policy_file import load_policy
from clinical_coding.edits.rules import Rule
from clinical_coding.edits.table import RULES

__all__ = ["RULES", "MedicalNecessity", "Policy", "PolicyRule", "Rule", "check", "load_necessity", "load_policy"]
