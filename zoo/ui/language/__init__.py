"""The page in other languages: tables from its English text, one folder a language, one JSON file a subject.

gr.I18n is not used: it reaches labels of components, but neither HTML nor errors, and no language can be changed without a reload.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
CHINESE = "zh-CN"


def parts(language: str = CHINESE) -> dict[str, dict[str, str]]:
    """The tables of a language by their subject: from English text, in which `{}` stands for whatever may be there, to its twin."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / language).glob("*.json"))}


@cache
def table(language: str = CHINESE) -> dict[str, str]:
    """All tables of a language as one; where two have the same text, a test holds that both say the same."""
    return {english: twin for part in parts(language).values() for english, twin in part.items()}
