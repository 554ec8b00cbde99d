"""Receives a size · hands out a message of JSON as applications send it · owns what it is made of.

What a compressor saves depends on the text, so this one is neither words repeated nor noise: objects of one form whose
numbers differ, the same in every run.
"""

from __future__ import annotations

import json
import random

SEED = 20_261_123
LABEL = 16
"""Bytes of the number that the load generator puts in for `{seq}`."""


def json_message(size: int) -> str:
    """A template for the load generator that makes messages of so many bytes.

    Args:
        size: bytes, at least 128.
    """
    choose = random.Random(SEED)
    quotes: list[str] = []
    while True:
        quote = {
            "symbol": "".join(choose.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=6)),
            "bid": round(choose.uniform(0.5, 200.0), 5),
            "ask": round(choose.uniform(0.5, 200.0), 5),
            "at": 1_763_990_400_000 + choose.randrange(86_400_000),
        }
        longer = [*quotes, json.dumps(quote, separators=(",", ":"))]
        if _length(longer) > size:
            return _template(quotes)
        quotes = longer


def _template(quotes: list[str]) -> str:
    return f'{{"number":{{seq}},"quotes":[{",".join(quotes)}],"more":"{{pad}}"}}'


def _length(quotes: list[str]) -> int:
    return len(_template(quotes)) - len("{seq}") + LABEL - len("{pad}")
