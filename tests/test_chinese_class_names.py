"""The Chinese class names of a label list (zoo/catalog/data/NAME.zh-CN.txt): a line a class, the best name first, synonyms behind `|`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from zoo.catalog.labels import DATA, label_names

LISTS = sorted(DATA.glob("*.zh-CN.txt"))
LATIN = {"ATM", "CD", "CRT", "MPV", "T", "iPod"}
"""Words that Chinese, too, writes in Latin letters."""


def lines_of(file: Path) -> list[list[str]]:
    """The names of each class: the best one, then its synonyms."""
    return [line.split("|") for line in file.read_text(encoding="utf-8").splitlines()]


def test_imagenet_has_chinese_names():
    assert DATA / "imagenet-1k.zh-CN.txt" in LISTS


@pytest.mark.parametrize("file", LISTS, ids=lambda file: file.name)
def test_each_class_has_one_line_of_names_without_blanks_or_empty_parts(file: Path):
    names = lines_of(file)
    assert len(names) == len(label_names(file.name.removesuffix(".zh-CN.txt")))
    wrong = [line for line in names if len(set(line)) < len(line) or any(not name or re.search(r"\s", name) for name in line)]
    assert not wrong


@pytest.mark.parametrize("file", LISTS, ids=lambda file: file.name)
def test_no_two_classes_have_the_same_first_name(file: Path):
    firsts = Counter(line[0] for line in lines_of(file))
    assert not [name for name, times in firsts.items() if times > 1]


@pytest.mark.parametrize("file", LISTS, ids=lambda file: file.name)
def test_the_names_are_chinese_save_for_words_that_chinese_writes_in_latin_letters(file: Path):
    names = [name for line in lines_of(file) for name in line]
    assert not [name for name in names if not set(re.findall(r"[A-Za-z]+", name)) <= LATIN]
    assert not [name for name in names if not re.fullmatch(r"[\u3400-\u4dbf\u4e00-\u9fffA-Za-z]+", name)]
