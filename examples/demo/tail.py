"""Receives the path of a file that grows · hands out its new lines · owns the open file and its unfinished
line.

A program may rename the file and begin another (rotation), or cut it short in place (truncation); both go on
here as they do in `tail -F`. One call reads a bounded amount, so a file that grows by gigabytes costs as
little memory as one that grows by lines.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_LINE = 2_000  # bytes; what follows in the same line is left out, marked by an ellipsis
MAX_READ = 65_536  # bytes in one call
MAX_BEHIND = 1 << 20  # bytes; a file that grows faster than it is read is skipped forward


class NotAFile(ValueError):
    """Only regular files have an end to follow; reading a pipe or a device would block."""


class Tail:
    """The lines that are appended to a file; one that is missing is waited for."""

    def __init__(self, path: Path, *, recent: int = 8_192) -> None:
        """`recent`: bytes before the present end with whose lines the first call begins."""
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise NotAFile(f"{path} is no regular file")
        self._path = path
        self._file: BinaryIO | None = None
        self._inode: tuple[int, int] | None = None
        self._rest = b""
        self._overlong = False
        self.skipped = 0
        """Bytes left out so far because the file grew faster than it was read."""
        if self._open():
            self._seek(max(0, path.stat().st_size - recent))

    def read(self) -> list[str]:
        """The lines that were completed since the last call, oldest first."""
        if self._file is None and not self._open():
            return []
        assert self._file is not None
        size, position = os.fstat(self._file.fileno()).st_size, self._file.tell()
        if size < position:  # truncated: what is there now is new
            self._restart()
            position = 0
        if size - position > MAX_BEHIND:
            self.skipped += size - position - MAX_READ
            self._seek(size - MAX_READ + 1)
        chunk = self._file.read(MAX_READ)
        lines = self._split(chunk)
        if not chunk and self._replaced():
            self.close()
            if self._rest:  # nothing will complete it any more
                lines = self._split(b"\n")
        return lines

    def close(self) -> None:
        """Lets go of the file; the next `read` opens it anew."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self) -> bool:
        try:
            # Unbuffered, so that `tell` is where the file stands and not where a buffer has read ahead to.
            file = open(self._path, "rb", buffering=0)  # noqa: SIM115 - kept over many calls
        except (FileNotFoundError, PermissionError):
            return False  # whoever rotates it may still be about to create it, or to hand it over
        status = os.fstat(file.fileno())
        self._file, self._inode = file, (status.st_dev, status.st_ino)
        return True

    def _replaced(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False  # renamed, and its writer may go on until the new one is there
        return (status.st_dev, status.st_ino) != self._inode

    def _restart(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._rest, self._overlong = b"", False

    def _seek(self, position: int) -> None:
        assert self._file is not None
        self._restart()
        if position > 0:
            self._file.seek(position - 1)
            self._overlong = True  # the first piece is the end of a line unless a line begins just here

    def _split(self, chunk: bytes) -> list[str]:
        *complete, rest = (self._rest + chunk).split(b"\n")
        lines = []
        for line in complete:
            if not self._overlong:
                lines.append(shown(line))
            self._overlong = False
        if len(rest) > MAX_LINE:
            if not self._overlong:
                lines.append(shown(rest))
            rest, self._overlong = b"", True  # everything up to the next line end is left out
        self._rest = rest if not self._overlong else b""
        return lines


def shown(line: bytes) -> str:
    """A line as text, however it was encoded and however long it is."""
    line = line.removesuffix(b"\r")
    text = line[:MAX_LINE].decode("utf-8", "replace")
    return text + "…" if len(line) > MAX_LINE else text
