"""What a process keeps of one publication: least recently used goes first, within a bound of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from feature_repo.client.answers import ProductList

MISSING: Any = object()
"""Nothing is known of a key; None says that the key has no row."""
ENTRY_BYTES = 330
"""Of a key and its place, measured."""


def size_of(value: Any) -> int:
    """Bytes that a value takes in this process; its words are shared with the reader's lists."""
    if isinstance(value, ProductList):
        # A float is an object of 24 bytes and a pointer to it, a shared word a pointer alone.
        return 200 + len(value.product_ids) * (48 + 8 * bool(value.categories))
    if isinstance(value, tuple) and hasattr(value[0], "nbytes"):
        return 240 + int(value[0].nbytes)
    return 0 if value is None else 700


class Cache:
    """A mapping that several threads use."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """As estimated by `size_of`."""
        self._items: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, keys: Sequence[Hashable]) -> list[Any]:
        """The values, MISSING where there is none."""
        items, found = self._items, []
        with self._lock:
            for key in keys:
                value = items.get(key, MISSING)
                if value is not MISSING:
                    items.move_to_end(key)
                found.append(value)
        return found

    def put(self, pairs: Iterable[tuple[Hashable, Any]]) -> None:
        """Keep values; of a key that is there already the first one stays."""
        items = self._items
        with self._lock:
            for key, value in pairs:
                if key not in items:
                    items[key] = value
                    self.bytes += ENTRY_BYTES + size_of(value)
            while self.bytes > self.most_bytes and items:
                _, value = items.popitem(last=False)
                self.bytes -= ENTRY_BYTES + size_of(value)
