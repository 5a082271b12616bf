"""Files as they were handed out: named directly, or as members of a zip archive as CMS ships them."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["Source", "open_sources"]

_READ_AS_TEXT: Final = {".txt", ".csv", ".tsv", ".xml"}
_IGNORED: Final = ("__macosx", "addenda", "readme", "recordlayout", "record_layout")


@dataclass(frozen=True)
class Source:
    """One file."""

    name: str
    """Without folders; of a member, the archive's name too: ``table5.zip/table5.txt``."""
    body: bytes = field(repr=False)

    @property
    def suffix(self) -> str:
        """The end of its name, lower case: ``.xlsx``."""
        return PurePosixPath(self.name.lower()).suffix

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.body).hexdigest()

    def text(self) -> str:
        """Its characters: UTF-8, or the Windows code page in which CMS still writes some tables."""
        try:
            return self.body.decode("utf-8-sig")
        except UnicodeDecodeError:
            return self.body.decode("cp1252", errors="replace")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Its lines by number, without their ends: a line feed alone parts them, with a carriage return or without.

        Descriptions may hold the other characters at which ``str.splitlines`` splits (form feed, U+0085, U+2028).
        """
        for number, line in enumerate(self.text().split("\n"), start=1):
            yield number, line.removesuffix("\r")

    def check_end(self) -> None:
        """Refuse a text whose last line is not ended: the rest of it, and what follows, may be lost.

        Raises:
            ValueError: The last line has no line end.
        """
        lines = self.text().split("\n")
        if lines[-1].strip():
            raise ValueError(
                f"{self.name} line {len(lines)}: the last line has no line end, so that the file is perhaps cut short; "
                "fetch the file anew, or, where it is whole, end its last line"
            )

    def fault(self, line: int, what: str) -> ValueError:
        """An error about one line, that can be raised."""
        return ValueError(f"{self.name} line {line}: {what}; fetch the file anew, or correct it")


def open_sources(paths: Sequence[Path], *, fits: Callable[[Source], bool], expected: str) -> list[Source]:
    """Read the files that a release is made of.

    Args:
        paths: Files, or zip archives whose fitting members are taken. Where an archive holds one table both as text
            and as a workbook, the text is taken.
        fits: Tells whether a file has the layout that is read here.
        expected: The layout in words, for messages.

    Raises:
        ValueError: A file cannot be read, an archive is damaged, or one holds nothing that fits.
    """
    sources: list[Source] = []
    for path in paths:
        source = Source(path.name, _read(path))
        if _is_archive(source):
            members = _without_twins([member for member in _members(source) if fits(member)])
            if not members:
                raise ValueError(f"{path} holds no file in the layout of {expected}; name the right archive or file")
            sources += members
        elif fits(source):
            sources.append(source)
        else:
            raise ValueError(f"{path} is not in the layout of {expected}; name the right file, or see --help")
    return sources


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name another file") from None


def _is_archive(source: Source) -> bool:
    # A workbook is an archive too, but is read as it is.
    return source.suffix == ".zip" or (source.suffix != ".xlsx" and source.body.startswith(b"PK\x03\x04"))


def _members(archive: Source) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(io.BytesIO(archive.body)) as opened:
            for info in opened.infolist():
                name = PurePosixPath(info.filename)
                is_wanted = name.suffix.lower() in _READ_AS_TEXT | {".xlsx"}
                if is_wanted and not any(word in info.filename.lower() for word in _IGNORED):
                    yield Source(f"{archive.name}/{name.name}", opened.read(info))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive.name} is not a whole zip archive ({error}); fetch it anew") from None


def _without_twins(members: list[Source]) -> list[Source]:
    """Of one table in two forms, the text alone."""
    stems = {PurePosixPath(one.name).stem.lower() for one in members if one.suffix != ".xlsx"}
    return [one for one in members if one.suffix != ".xlsx" or PurePosixPath(one.name).stem.lower() not in stems]
