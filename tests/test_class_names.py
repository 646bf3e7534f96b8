"""What classes are called: every shipped label list in Chinese, further words in both languages, and how any of them finds its class."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from zoo.catalog.card import Card, cards
from zoo.catalog.labels import DATA, chinese_names, classes_by_word, label_lists, label_names, other_names
from zoo.engine.hub import Hub
from zoo.engine.request import find_label, find_labels
from zoo.errors import RequestError
from zoo.training import clips, emoji
from zoo.training.class_pictures import painters, sprite
from zoo.ui.parts.class_list import class_list, class_names, tables
from zoo.ui.server.page_files import FOLDER

LEAVING = {"shapes", "motions"}
"""Lists that go away with the models that know them, and have no Chinese names."""
LISTS = sorted(label_lists().keys() - LEAVING)


def knowing(labels: str | tuple[str, ...]) -> Card:
    """A card whose classes are those of a list."""
    count = len(label_names(labels) if isinstance(labels, str) else labels)
    card = cards()["tiny-dit"]
    return replace(card, labels=labels, arch={**card.arch, "num_classes": count})


@pytest.mark.parametrize("name", LISTS)
def test_every_class_has_one_chinese_name_that_no_other_class_has(name: str) -> None:
    names = chinese_names(name)
    assert len(names) == len(label_names(name))
    assert [one for one, count in Counter(names).items() if count > 1] == []
    assert [one for one in names if not re.search(r"[\u4e00-\u9fff]", one)] in ([], ["iPod"])


@pytest.mark.parametrize("file", sorted(DATA.glob("*.*.txt")), ids=lambda path: path.stem)
def test_further_words_are_whole_and_none_stands_twice_on_a_line(file) -> None:
    lines = [line.split("|") for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(label_names(file.name.split(".")[0]))
    words = [word for line in lines for word in line if line != [""]]
    assert [word for word in words if not word or word != word.strip() or not word.isprintable()] == []
    assert [line for line in lines if len(set(line)) < len(line)] == []


@pytest.mark.parametrize("name", ["emoji", "clips"])
def test_no_word_of_the_bundled_lists_fits_two_classes(name: str) -> None:
    words = Counter(word.lower() for own, more in zip(label_names(name), other_names(name), strict=True) for word in {own, *more})
    assert [word for word, count in words.items() if count > 1] == []


def test_the_bundled_lists_are_those_of_the_drawings() -> None:
    assert label_names("emoji") == tuple(emoji.CLASSES)
    assert label_names("clips") == clips.LABELS


@pytest.mark.parametrize(
    ("labels", "text", "name"),
    [
        ("emoji", "狗", "dog"), ("emoji", " 小狗 ", "dog"), ("emoji", "Puppy", "dog"), ("emoji", "hot dog", "hot dog"),
        ("emoji", "钟", "clock"), ("emoji", "football", "soccer ball"), ("clips", "火箭向上飞", "rocket flies up"),
        ("ucf-101", "乒乓球", "TableTennisShot"),
        ("ucf-101", "apply eye makeup", "ApplyEyeMakeup"), ("kinetics-400", "瑜伽", "yoga"), ("kinetics-400", "origami", "folding paper"),
    ],
)  # fmt: skip
def test_a_class_is_found_by_its_chinese_name_and_by_further_words(labels: str, text: str, name: str) -> None:
    card = knowing(labels)
    assert card.label_names[find_label(card, text)] == name


@pytest.mark.parametrize("name", LISTS)
def test_each_class_is_found_by_its_own_names_first(name: str) -> None:
    card = knowing(name)
    assert [find_label(card, one) for one in chinese_names(name)] == list(range(len(card.label_names)))
    if len(set(card.label_names)) == len(card.label_names):
        assert [find_label(card, one) for one in card.label_names] == list(range(len(card.label_names)))


def test_a_further_word_of_two_classes_names_both(says: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    card = knowing("emoji")
    words = [("猫", "pet") if name == "cat" else ("狗", "pet") if name == "dog" else () for name in card.label_names]
    monkeypatch.setattr("zoo.catalog.labels.other_names", lambda _: words)
    monkeypatch.setattr("zoo.engine.request.classes_by_word", classes_by_word.__wrapped__)
    with says(RequestError, "'Pet' is the name of 2 classes", "0 (dog) or 1 (cat)"):
        find_label(card, "Pet")


def test_an_unknown_chinese_name_leads_to_those_most_like_it(says: Callable) -> None:
    with says(RequestError, "has no class '大熊猫猫'", "熊猫"):
        find_label(knowing("emoji"), "大熊猫猫")
    with says(RequestError, "a name such as rocket"):
        find_label(knowing("emoji"), "rockett")


def test_several_labels_may_be_in_several_languages() -> None:
    card = knowing("emoji")
    assert [card.label_names[k] for k in find_labels(card, "狗, puppy,rocket")] == ["dog", "dog", "rocket"]


def test_a_list_of_a_users_own_has_its_own_names_only(says: Callable) -> None:
    card = knowing(("狗", "b | c"))
    assert (find_label(card, "狗"), find_label(card, "b | c")) == (0, 1)
    with says(RequestError, "has no class 'dog'"):
        find_label(card, "dog")
    assert class_names(card) == ["狗", "b | c"]
    assert class_list(card)["elem_classes"] == []
    assert other_names("nobody-has-this") == chinese_names("nobody-has-this") == ()


def test_the_list_of_a_model_says_both_names_and_the_browser_gets_the_further_ones() -> None:
    card = knowing("emoji")
    assert class_list(card)["choices"][0] == ("dog | 狗", 0)
    assert class_list(card, card.label_names)["choices"][1] == ("cat | 猫", "cat")
    rows = json.loads(tables()["classes-emoji.json"])
    assert [row[0] for row in rows] == class_names(card)
    assert {"小狗", "puppy"} <= set(rows[0][1:])


@pytest.mark.parametrize("name", LISTS)
def test_no_name_of_a_shipped_list_holds_what_parts_the_two_languages(name: str) -> None:
    assert [one for one in (*label_names(name), *chinese_names(name)) if "|" in one] == []


def test_small_pictures_lie_ten_in_a_row_in_the_order_of_the_classes() -> None:
    colours = [(20 * k, 255 - 20 * k, 100) for k in range(12)]
    sheet = sprite(np.stack([np.full((64, 64, 3), colour, np.uint8) for colour in colours]))
    assert sheet.size == (480, 96)
    corners = [sheet.getpixel((k % 10 * 48 + x, k // 10 * 48 + x)) for k in range(12) for x in (0, 47)]
    assert corners == [colour for colour in colours for _ in "ab"]


def test_each_bundled_list_has_a_model_that_paints_it(hub: Hub) -> None:
    known = painters(hub)
    assert {card.id for card in known.values()} == {"tiny-dit", "tiny-latte"}
    assert all(card.labels == name for name, card in known.items())


def test_what_the_bundled_generators_know_has_a_small_picture_of_each_class(hub: Hub) -> None:
    lists = {card.labels for card in hub.cards.values() if card.generates and card.weights[0].origin == "bundled"} - LEAVING
    for name in lists:
        with Image.open(FOLDER / f"classes-{name}.webp") as sheet:
            assert sheet.size == (480, 48 * -(-len(label_names(name)) // 10))
