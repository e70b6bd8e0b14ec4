"""Words to put in the place of others: made up, pronounceable, the same number of every length."""

from functools import cache

import numpy as np

from headgate_processors.generate.randomness import Bytes

SHORTEST, LONGEST = 4, 14
_CONSONANTS = np.frombuffer(b"bdfgklmnprstvz", np.uint8)
_VOWELS = np.frombuffer(b"aeiou", np.uint8)
EACH = (len(_CONSONANTS) * len(_VOWELS)) ** 2
_TO_CAPITAL = ord("a") - ord("A")


@cache
def vocabulary(length: int, *, is_capital: bool) -> Bytes:
    """`EACH` different words of one length, as an array of `EACH` × `length` characters.

    Consonants and vowels take turns; the first four letters tell the number of the word.
    """
    numbers = np.arange(EACH) * 19 % EACH
    rest, letters = numbers.copy(), []
    for place in range(length):
        kind = _VOWELS if place % 2 else _CONSONANTS
        if place < SHORTEST:
            rest, pick = np.divmod(rest, len(kind))
        else:
            pick = (numbers * 31 + place * 17) % len(kind)
        letters.append(kind[pick])
    if is_capital:
        letters[0] = letters[0] - _TO_CAPITAL
    return np.stack(letters, axis=1).astype(np.uint8)
