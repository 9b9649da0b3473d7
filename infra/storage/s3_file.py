"""An object on S3 as a file that pyarrow reads: by ranges, the last one first."""

import os
from collections.abc import Callable

TAIL_BYTES = 64 * 2**10
"""Asked for at once, with the object's size: Parquet's footer, or all of a small file."""


class S3File:
    """To be read by one thread at a time. What `get_range` raises, everything here raises."""

    def __init__(self, get_range: Callable[[str], tuple[bytes, int]]) -> None:
        """`get_range` takes what HTTP's header Range does; it returns these bytes and the size of
        the object."""
        self._get_range = get_range
        self._tail, self._size = get_range(f"bytes=-{TAIL_BYTES}")
        self._place = 0
        self.closed = False

    def read(self, size: int) -> memoryview:
        """The next bytes; fewer than `size` at the end of the file only."""
        start, stop = self._place, min(self._size, self._place + size)
        self._place = max(start, stop)
        tail_start = self._size - len(self._tail)
        if tail_start <= start or stop <= start:
            return memoryview(self._tail)[max(0, start - tail_start) : max(0, stop - tail_start)]
        return memoryview(self._get_range(f"bytes={start}-{stop - 1}")[0])

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = (
            place + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        )
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self.closed = True
