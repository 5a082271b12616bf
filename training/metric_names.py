"""Names of metrics in MLflow, which refuses some characters that payers and specialties are written with."""

import re

from clinical_coding.artefact import sha256_of_json

__all__ = ["metric_name"]

MAX_NAME_CHARACTERS = 250


def metric_name(*parts: str) -> str:
    """Join parts into a name that MLflow accepts, distinct for distinct parts.

    Args:
        parts: For instance ``"dev", "payer", "blue cross & co", "micro_f1"``.

    Returns:
        The parts joined by ``/``. A part that MLflow would refuse (``&``, ``..``, over-long) has the
        characters replaced and a hash of the original appended.
    """
    max_characters = MAX_NAME_CHARACTERS // len(parts) - 1
    return "/".join(_accepted(part, max_characters=max_characters) for part in parts)


def _accepted(part: str, *, max_characters: int) -> str:
    clean = re.sub(r"[^A-Za-z0-9_.\- ]", "_", part).strip(" .")
    if clean == part and 0 < len(part) <= max_characters:
        return part
    suffix = f"-{sha256_of_json(part)[:8]}"
    return clean[: max_characters - len(suffix)] + suffix
