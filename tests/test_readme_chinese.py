"""The README in Chinese says what the English one says: block by block the same code, names, links and numbers, in good Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zoo.ui import language

ROOT = Path(__file__).parent.parent
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]  # behind the front matter
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
TO_CHINESE, TO_ENGLISH = "[简体中文](README.zh-CN.md)", "[English](README.md)"
CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)]+)\)")
ADDRESS = re.compile(r"https?://[^\s<>，。；]*[^\s<>，。；,.;:]")
HAN = r"\u3400-\u9fff"
STARTS = {"<!--": "comment", "```": "code", "- ": "item", "|--": "rule", "| ": "row", "#": "heading", "![": "picture"}
"""How the blocks begin that are not paragraphs, and what they are."""
COUNTS = {"Six": "六", "Seven": "七", "Eight": "八", "Nine": "九", "Ten": "十", "Eleven": "十一", "Twelve": "十二"}


def kind(block: str) -> str:
    """What a block is; of a heading its level as well."""
    found = next((name for start, name in STARTS.items() if block.startswith(start)), "paragraph")
    return f"{found} {block.split()[0]}" if found == "heading" else found


def blocks(text: str) -> list[str]:
    """Paragraphs, headings, points of lists, rows, comments and places of code, each on one line; not the links between the two."""
    every: list[str] = []
    fresh = True
    for line in CODE.sub("\n```\n\n", text).splitlines():
        if line in ("", TO_CHINESE, TO_ENGLISH):
            fresh = True
        elif fresh or kind(line) != "paragraph":
            every.append(line.strip())
            fresh = kind(line) in ("comment", "code", "row", "rule")
        else:
            every[-1] += " " + line.strip()
    return every


PAIRS = list(zip(blocks(ENGLISH), blocks(CHINESE), strict=False))


def prose(block: str) -> str:
    """What a reader reads: x for every piece of code and every address, the words of a link, no marks of emphasis."""
    return ADDRESS.sub("x", LINK.sub(r"\1", SPAN.sub("x", block))).replace("**", "")


def links(block: str) -> list[str]:
    """Where a block leads to, in any order."""
    return sorted([target for _, target in LINK.findall(block)] + ADDRESS.findall(LINK.sub("", SPAN.sub("", block))))


def numbers(block: str) -> list[str]:
    """The numbers in digits, in any order; a million is a hundred times the ten thousand (万) in which Chinese counts."""
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", re.sub(r"(\d+)00 万", r"\1", block)))


def is_chinese(block: str) -> bool:
    """Whether it has one and a half Chinese characters for every word in Latin letters, and no four plain English words in a row."""
    text = prose(block)
    characters, words = len(re.findall(f"[{HAN}]", text)), len(re.findall(r"[A-Za-z][\w'+/.-]+", text))
    return characters >= 1.5 * words and not re.search(r"\b[a-z]{2,}(?: [a-z]+){3}\b", text)


def test_each_of_the_two_leads_to_the_other_near_its_top() -> None:
    assert TO_CHINESE in ENGLISH.split("\n## ")[0]
    assert CHINESE.startswith(f"# Patchwork\n\n{TO_ENGLISH}\n\n")  # and has no front matter: that is the Space's


def test_every_code_block_is_the_same_to_the_byte_and_in_the_same_order() -> None:
    assert CODE.findall(CHINESE) == CODE.findall(ENGLISH)
    assert {name for name, _ in CODE.findall(CHINESE)} == {"sh", "python", "yaml", "powershell"}


def test_the_two_have_the_same_blocks_in_the_same_order() -> None:
    assert [kind(block) for block in blocks(CHINESE)] == [kind(block) for block in blocks(ENGLISH)]
    assert len(PAIRS) > 120


@pytest.mark.parametrize("part", [SPAN.findall, links, numbers], ids=["code", "links", "numbers"])
def test_each_block_names_the_same(part) -> None:
    differ = [(sorted(part(english)), sorted(part(chinese)), chinese) for english, chinese in PAIRS]
    assert [found for found in differ if found[0] != found[1]] == []
    assert sum(bool(found[0]) for found in differ) >= 10  # else nothing was compared


def test_tables_have_the_same_columns_and_comments_stay() -> None:
    assert [pair for pair in PAIRS if kind(pair[0]) in ("comment", "rule") and pair[0] != pair[1]] == []
    assert [pair for pair in PAIRS if kind(pair[0]) == "row" and pair[0].count(" | ") != pair[1].count(" | ")] == []


def test_no_block_stays_english() -> None:
    spoken = [pair for pair in PAIRS if kind(pair[0]) not in ("comment", "code", "rule") and pair[0] != "# Patchwork"]
    assert [chinese for _, chinese in spoken if not is_chinese(chinese)] == []
    assert [english for english, _ in spoken if is_chinese(english)] == []  # so the measure tells the two apart


def test_controls_and_tabs_are_named_as_the_page_names_them_in_chinese() -> None:
    found = []
    for english, chinese in PAIRS:
        names = re.findall(r"\*\*(.+?)\*\*", english) + re.findall(r'(?<!`)"([A-Z][^"`]+)"', prose(english))
        names += [name for name in ("Image", "Video", "Compare", "Look inside", "Models", "Votes") if f"{name} tab" in english]
        found += [(twin, chinese) for name in names if (twin := language.said(name, language.CHINESE)) != name]
    assert len(found) >= 12
    assert [pair for pair in found if pair[0] not in pair[1]] == []


def test_it_counts_the_included_models_as_the_english_one_does() -> None:
    count = re.search(r"(\w+) small models are included", ENGLISH)[1]
    assert f"随附{COUNTS[count]}个小模型" in CHINESE


def test_every_paragraph_is_one_line_for_a_line_end_shows_as_a_space() -> None:
    lines = CODE.sub("\n```\n\n", CHINESE).splitlines()
    written = [line and kind(line) in ("paragraph", "item") for line in lines]
    assert [lines[at] for at in range(1, len(lines)) if written[at - 1] and written[at] and kind(lines[at]) != "item"] == []


def test_marks_are_full_width_and_a_space_stands_between_chinese_and_latin() -> None:
    texts = [prose(block) for block in blocks(CHINESE) if kind(block) not in ("comment", "code", "rule")]
    joined = rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9%][{HAN}]"
    narrow = rf"[{HAN}] ?[,;:?!()\"']|[,;:?!()\"'] ?[{HAN}]|[{HAN}]\.(?!\w)"
    loose = rf"[{HAN}] [{HAN}]|[，。；：、]{{2}}| [，。；：、（）]|[，；：、（] "
    for fault in (joined, narrow, loose):
        assert [found[0] for text in texts for found in re.finditer(f".{{0,8}}(?:{fault}).{{0,8}}", text)] == []
