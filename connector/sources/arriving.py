"""A large answer that is read while it comes: written on one thread, waited for on another, kept in a file that has no name."""

from __future__ import annotations

import tempfile
import threading
from typing import IO

from connector.errors import ProtocolError

#: An answer is kept in memory up to this size, then in a file.
IN_MEMORY_BYTES = 4 << 20
_LINE_BYTES = 1 << 16


class Arriving:
    """The body of an answer, both ends of it.

    Whoever brings it may begin anew with `seek(0)` after a break: what came before is compared, since it may be read already.
    """

    def __init__(self, system: str) -> None:
        self._system = system
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  # closed by `close`
        self._news = threading.Condition()
        self._size = self._written_to = self._read_to = 0
        self._is_whole = False
        self._failure: BaseException | None = None
        self.closed = False

    # ------------------------------------------------------------------------------------------------------ who brings it

    def seek(self, at: int) -> int:
        self._written_to = at
        return at

    def truncate(self) -> int:
        """What is there stays: the same is to come again."""
        return self._size

    def write(self, piece: bytes) -> int:
        """Add what came. Raises ProtocolError when it is not what came the time before."""
        with self._news:
            known = max(0, min(len(piece), self._size - self._written_to))
            self._file.seek(self._written_to)
            if known and self._file.read(known) != piece[:known]:
                raise ProtocolError("an answer that was asked for again says something else", system=self._system)
            self._file.write(piece[known:])
            self._written_to += len(piece)
            self._size = max(self._size, self._written_to)
            self._news.notify()
        return len(piece)

    def end(self, failure: BaseException | None = None) -> None:
        """No more comes: it is whole, or whoever reads it is to be told of the failure."""
        with self._news:
            self._is_whole, self._failure = failure is None and self._written_to == self._size, failure
            if failure is None and not self._is_whole:
                self._failure = ProtocolError("an answer that was asked for again is shorter", system=self._system)
            self._news.notify()

    # ------------------------------------------------------------------------------------------------------ who reads it

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end. Raises what kept the rest from coming."""
        with self._news:
            self._news.wait_for(
                lambda: self._is_whole or self._failure is not None or self._size - self._read_to >= size
            )
            if self._failure is not None:
                raise self._failure
            self._file.seek(self._read_to)
            found = self._file.read(min(size, self._size - self._read_to))
            self._read_to += len(found)
            return found

    def first_line(self) -> bytes:
        """The first line; the next `read` gives it again."""
        line = b""
        while b"\n" not in line and (more := self.read(_LINE_BYTES)):
            line += more
        self._read_to = 0
        return line.partition(b"\n")[0]

    def close(self) -> None:
        with self._news:
            self.closed = True
            self._file.close()
