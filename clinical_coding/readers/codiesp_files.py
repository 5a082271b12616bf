"""The files of the CodiEsp corpus, alike for its zip and its unpacked folder.

Found by their own names, ``train/text_files/*.txt`` and ``train/trainD.tsv``, at whatever depth;
what stands in them is ``codiesp``'s business.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clinical_coding.records import Split

__all__ = ["CorpusFiles", "open_corpus"]

_TEXT = re.compile(r"(?:.*/)?(?P<split>train|dev|test)/text_files(?P<suffix>|_en)/(?P<document>[^/]+)\.txt")


class CorpusFiles:
    """The names of a corpus's files, sorted by what they are."""

    def __init__(self, names: list[str], *, read_bytes: Callable[[str], bytes], language: str) -> None:
        self._read_bytes = read_bytes
        self._tables = {name.rpartition("/")[2]: name for name in names if name.endswith(".tsv")}
        self._documents: dict[Split, dict[str, str]] = {}
        self.has_offsets = language == "es"
        suffix = "" if language == "es" else "_en"
        for name in names:
            found = _TEXT.fullmatch(name)
            if found and found["suffix"] == suffix:
                self._documents.setdefault(Split(found["split"]), {})[found["document"]] = name

    def splits(self) -> list[Split]:
        """The splits whose texts are here, in the order train, dev, test."""
        return [split for split in Split if split in self._documents]

    def documents(self, split: Split) -> dict[str, str]:
        """File names of a split's texts, by document id."""
        return self._documents[split]

    def table(self, split: Split, letter: str) -> str | None:
        """The file name of a split's table: D and P are labels, X is where annotators saw them."""
        return self._tables.get(f"{split}{letter}.tsv")

    def read(self, name: str) -> str:
        """Read one file.

        Raises:
            ValueError: It is not UTF-8.
        """
        try:
            return self._read_bytes(name).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not UTF-8 text at byte {error.start}; fetch the corpus again") from None

    def lines(self, name: str) -> list[str]:
        """Read a table's lines; only line ends part them, not the other marks that ``splitlines`` knows."""
        return [line.rstrip("\n") for line in io.StringIO(self.read(name), newline=None)]


@contextmanager
def open_corpus(path: Path, *, language: str) -> Iterator[CorpusFiles]:
    """Open the corpus for reading.

    Args:
        path: Zip or folder.
        language: ``es`` or ``en``: whose texts to find.

    Raises:
        ValueError: There are no labelled texts here.
    """
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        yield _checked(CorpusFiles(names, read_bytes=lambda name: (path / name).read_bytes(), language=language), path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is neither a folder nor a zip; name the CodiEsp release or its folder") from None
    with archive:
        yield _checked(CorpusFiles(archive.namelist(), read_bytes=archive.read, language=language), path)


def _checked(files: CorpusFiles, path: Path) -> CorpusFiles:
    if not files.splits():
        raise ValueError(
            f"{path} holds no CodiEsp texts; expected train/, dev/ or test/ with text_files/ or text_files_en/ inside"
        )
    return files
