"""The same labels with the coder's word in the place of the supervisor's: what a loop without adjudication learns.

Only for the experiment that shows what adjudication is worth. Records, codes and their number stay as they
are; of each labelled code the state alone becomes what the coder's final codes say of it.
"""

from collections.abc import Collection

from clinical_coding.codes import Code, CodeState, Provenance
from clinical_coding.records import CodedRecord

__all__ = ["as_coded"]


def as_coded(record: CodedRecord, *, final: Collection[str]) -> CodedRecord:
    """Let the coder label the codes that a supervisor labelled.

    Args:
        record: From an exported training set.
        final: Label keys that stood on the encounter after the coder's decision.

    Returns:
        The record with the same codes; those in state unknown stay so.
    """
    return record.model_copy(update={"codes": tuple(_as_coded(code, final=final) for code in record.codes)})


def _as_coded(code: Code, *, final: Collection[str]) -> Code:
    if code.state is CodeState.UNKNOWN:
        return code
    state = CodeState.POSITIVE if code.key in final else CodeState.NEGATIVE
    return code.model_copy(update={"state": state, "provenance": Provenance(source="decision")})
