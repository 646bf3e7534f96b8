"""The page in other languages: tables from its English text, one folder a language, one JSON file a subject.

gr.I18n is not used: it reaches labels of components, but neither HTML nor errors, and no language can be changed without a reload.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
CHINESE = "zh-CN"
SAYING = 12
"""Letters that a pattern has at least: with fewer it is for parts of a line, and not for a sentence."""
SWITCH = '<button id="language" type="button"><span lang="zh-CN">中文</span><span lang="en">English</span></button>'
"""Changes the language of the page; of its two words one is seen (language.js, language.css)."""


def parts(language: str = CHINESE) -> dict[str, dict[str, str]]:
    """The tables of a language by their subject: from English text, in which `{}` stands for whatever may be there, to its twin."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / language).glob("*.json"))}


@cache
def table(language: str = CHINESE) -> dict[str, str]:
    """All tables of a language as one; where two have the same text, a test holds that both say the same."""
    return {english: twin for part in parts(language).values() for english, twin in part.items()}


def asked_for(accepted: str) -> str:
    """The language of the page for an Accept-Language header: Chinese where it is wanted at least as much as English."""
    wanted = {"zh": 0.0, "en": 0.0}
    for word in accepted.split(","):
        name, _, quality = word.partition(";")
        main = name.strip().partition("-")[0].lower()
        if main in wanted and (found := re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d*)?)\s*", quality) if quality else 1):
            wanted[main] = max(wanted[main], 1.0 if found == 1 else float(found[1]))
    first = accepted.strip()[:2].lower() == "zh"
    return CHINESE if wanted["zh"] > wanted["en"] or (first and wanted["zh"] == wanted["en"] > 0) else "en"


def said(text: str, language: str) -> str:
    """A text in a language: its twin, or that of its pattern; itself where there is none. What stands in a pattern's places stays."""
    if language != CHINESE:
        return text
    if twin := table().get(text):
        return twin
    for english, twin in table().items():
        pieces = english.split("{}")
        if len(pieces) > 1 and len("".join(pieces)) >= SAYING and (found := re.fullmatch("(.+?)".join(map(re.escape, pieces)), text)):
            return _filled(twin, found.groups())
    return text


def _filled(twin: str, contents: Sequence[str]) -> str:
    """A pattern with its places filled, in their order or by their numbers."""
    in_order = iter(contents)
    return re.sub(r"\{(\d*)\}", lambda hole: contents[int(hole[1]) - 1] if hole[1] else next(in_order), twin)
