"""From text to scored codes, defined once: windows, forward, calibration, threshold, evidence offsets.

Read in this order: ``windows``, ``encoder``, ``head``, ``coding_model``, ``lexical``, ``calibration``, ``evidence``,
``scorer``.
"""

from training.model.scorer import Scorer

__all__ = ["Scorer"]
