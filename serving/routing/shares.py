"""A share with its 95% interval: Wilson's (1927, doi:10.1080/01621459.1927.10502953), which holds for few and none."""

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["Share"]

_Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share; 0 of none."""
        return self.count / self.of if self.of else 0.0

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return max(self._centre - self._half, 0.0) if self.of else 0.0

    @property
    def high(self) -> float:
        """Upper end of the interval; 1 of none, of which nothing is known."""
        return min(self._centre + self._half, 1.0) if self.of else 1.0

    @property
    def _centre(self) -> float:
        return (self.value + _Z**2 / (2 * self.of)) / (1 + _Z**2 / self.of)

    @property
    def _half(self) -> float:
        spread = self.value * (1 - self.value) / self.of + _Z**2 / (4 * self.of**2)
        return _Z * math.sqrt(spread) / (1 + _Z**2 / self.of)
