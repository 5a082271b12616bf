"""From text to scored codes, defined once: windows, forward, calibration, threshold, evidence offsets.

Read in this order: ``windows``, ``encoder``, ``packing``, ``head``, ``coding_model``, ``varlen``, ``lexical``,
``calibration``, ``evidence``, ``scorer``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.model.scorer import Scorer

__all__ = ["Scorer"]


def __getattr__(name: str) -> Any:
    """Load the scorer when it is asked for: the modules below it need fewer packages."""
    if name == "Scorer":
        from training.model.scorer import Scorer

        return Scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
