"""From logits to confidences that mean what they say; the weights are fitted in ``training.calibrate``.

Shapes: any, the same for logits and shares.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical_coding.bundle import Calibration

__all__ = ["confidences"]


def confidences(logits: NDArray[Any], shares: NDArray[Any], calibration: Calibration) -> NDArray[Any]:
    """Weigh the model's logits and the lexical match against each other; gives proportions, 0 to 1."""
    weighed = calibration.logit_weight * logits + calibration.lexical_weight * shares + calibration.offset
    return 1 / (1 + np.exp(-weighed))  # type: ignore[no-any-return]
