"""How an id may be spelt in a file: in a table's cell, in JSON, in a page, in a line of a log."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property

from jobs.reading import clean

WORD = re.compile(r"\w+")


class Spellings:
    """Finds any of some ids in text, where it stands as a whole: `C12` is not in `C123`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = tuple(dict.fromkeys(ids))
        self._words = {spelling: frozenset(WORD.findall(spelling)) for spelling in self._all()}

    def _all(self) -> Iterable[str]:
        for customer in self.ids:
            in_json = (json.dumps(customer, ensure_ascii=pure)[1:-1] for pure in (True, False))
            shown = (customer, clean(customer), html.escape(customer), *in_json)
            yield from (spelling for spelling in shown if spelling)

    def within(self, text: str) -> list[str]:
        """The spellings that stand in the text."""
        there = set(WORD.findall(text))
        likely = [spelling for spelling, words in self._words.items() if words <= there and spelling in text]
        return [spelling for spelling in likely if _whole([spelling]).search(text)]

    def taken_out(self, text: str, instead: str) -> str:
        """The text with `instead` where an id stood."""
        found = self.within(text)
        return _whole(found).sub(lambda _: instead, text) if found else text

    @cached_property
    def set(self) -> frozenset[str]:
        """The ids themselves."""
        return frozenset(self.ids)


def _whole(spellings: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
