"""The releases of code systems that a data directory holds, for commands that judge or describe codes."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinical_coding.code_systems import CodeSystems

__all__ = ["held_releases"]


def held_releases(data_dir: Path) -> "CodeSystems":
    """Open the imported releases, beside the embedded one.

    Raises:
        ValueError: The data directory cannot be one, or an imported release is damaged.
    """
    from clinical_coding.code_systems import CodeSystems
    from clinical_coding.data_directory import DataDirectory

    return CodeSystems.open(DataDirectory.locate(data_dir).code_systems)
