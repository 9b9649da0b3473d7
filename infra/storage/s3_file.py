"""An object on S3 as a file for pyarrow, read by ranges: the last range first."""

import os
from collections.abc import Callable

TAIL_BYTES = 64 * 2**10
"""The first request reads this many last bytes: Parquet's footer, or all of a small file."""


class S3File:
    """A readable file for one thread at a time. Its methods raise what `get_range` raises."""

    def __init__(self, get_range: Callable[[str], tuple[bytes, int]]) -> None:
        """`get_range` takes a value of HTTP's Range header; it returns these bytes and the
        object's size."""
        self._get_range = get_range
        self._tail, self._size = get_range(f"bytes=-{TAIL_BYTES}")
        self._place = 0
        self.closed = False

    def read(self, size: int) -> memoryview:
        """The next `size` bytes; fewer at the end of the file."""
        start = self._place
        stop = min(self._size, start + size)
        self._place = max(start, stop)
        tail_start = self._size - len(self._tail)
        if tail_start <= start or stop <= start:
            return memoryview(self._tail)[max(0, start - tail_start) : max(0, stop - tail_start)]
        return memoryview(self._get_range(f"bytes={start}-{stop - 1}")[0])

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = origins[whence] + place
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self.closed = True
