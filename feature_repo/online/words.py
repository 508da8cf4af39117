"""Word lists as the writer keeps them: a word's code is its place in the list, and stays it for ever."""

from __future__ import annotations

import json

from feature_repo.online.backend import Backend
from feature_repo.online.reader import WORDS_A_CHUNK, read_words, word_key

MOST_WORDS = 4_000_000
"""Words of a list; later ones are stored where they stand."""


class WordLists:
    """The lists of a store. New words are stored before any row that names them."""

    def __init__(self, backend: Backend, most: int = MOST_WORDS) -> None:
        self.backend, self.most = backend, most
        self._codes: dict[str, dict[str, int]] = {}

    def code(self, name: str, words: list[str]) -> list[int]:
        """The code of each word in the list `name`, -1 for one that found no place in it any more."""
        if name not in self._codes:
            self._codes[name] = {word: code for code, word in enumerate(read_words(self.backend, name))}
        codes = self._codes[name]
        new = list(dict.fromkeys(word for word in words if word not in codes))[: max(self.most - len(codes), 0)]
        if new:
            first = len(codes) // WORDS_A_CHUNK
            codes.update(zip(new, range(len(codes), len(codes) + len(new)), strict=True))
            self._store(name, list(codes)[first * WORDS_A_CHUNK :], first)
        return [codes.get(word, -1) for word in words]

    def _store(self, name: str, words: list[str], chunk: int) -> None:
        parts = range(0, len(words), WORDS_A_CHUNK)
        prefix = self.backend.prefix
        self.backend.put({
            word_key(prefix, name, chunk + i): json.dumps(words[start : start + WORDS_A_CHUNK]).encode()
            for i, start in enumerate(parts)
        })  # fmt: skip
