"""From text to scored codes, defined once: windows, forward, calibration, threshold, evidence offsets.

Read in this order: ``windows``, ``encoder``, ``packing``, ``head``, ``coding_model``, ``varlen``, ``lexical``,
``calibration``, ``evidence``, ``reading``, ``scorer``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.model.scorer import ScoredPass, Scorer

__all__ = ["ScoredPass", "Scorer"]


def __getattr__(name: str) -> Any:
    """Load the scorer when it is asked for: the modules below it need fewer packages."""
    if name in __all__:
        from training.model import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
