"""The Chinese prose of the cards: each card has it, it says what the English says, and the page shows the one in its language."""

from __future__ import annotations

import re
from calendar import month_name
from collections import Counter
from collections.abc import Callable

import pytest
from conftest import visitor
from playwright.sync_api import Browser, expect

from zoo.catalog.card import CARDS, cards, parse
from zoo.catalog.twins import CHINESE, prose_in
from zoo.engine.hub import Hub
from zoo.ui.tabs.models import COMMANDS

TWINS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((CARDS / CHINESE).glob("*.md"))}
HEADINGS = {
    "Sources.": "来源。", "Import.": "导入。", "Settings.": "设置。", "Weights.": "权重。", "Figures.": "指标。",
    "Preparation.": "预处理。", "Published numbers.": "公开的数值。", "Not tested with the published weights.": "尚未用公开权重测试。",
    "How it was made.": "制作过程。", "Quality.": "质量。", "Limits.": "局限。", "Drawings.": "图案来源。", "Latents.": "潜变量。",
}  # fmt: skip
"""What stands in bold at the beginning of a card's paragraphs: a new one is to be added here with its twin."""
MONTHS = {month_name[number]: number for number in range(1, 13)}
CODE = re.compile(r"`[^`]+`")
CJK = r"[\u4e00-\u9fff]"
BROKEN = re.compile(r"\n(?!\||\d+\. )")
"""A line's end that begins neither a row of a table nor an item of a list."""

each_twin = pytest.mark.parametrize("identity", sorted(TWINS.keys() & cards().keys()))


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.strip().split("\n\n")]


def heading(paragraph: str) -> str:
    found = re.match(r"\*\*(.+?)\*\*", paragraph)
    return found[1] if found else ""


def facts(text: str) -> dict[str, Counter]:
    """What is the same in every language, with how often each stands there."""
    dated = re.sub(rf"\b({'|'.join(MONTHS)}) (\d{{4}})", lambda found: f"{MONTHS[found[1]]} {found[2]}", text)
    return {
        "code": Counter(CODE.findall(text)),
        "links": Counter(re.findall(r"https?://[\w./?=&%#~-]*[\w/]|\]\([^)]+\)", text)),
        "papers": Counter(re.findall(r"arXiv \d{4}\.\d{5}", text)),
        "sizes": Counter(re.sub(r"\s", "", size) for size in re.findall(r"\d[\d.,]*\s?(?:%|dB|kB|MB|GB)", text)),
        "numbers": Counter(re.findall(r"\d+(?:[.,]\d+)*", dated)),
    }


def words(text: str) -> str:
    """A text without what is not translated: code, links, pictures, and what is quoted."""
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)|https?://\S+|“[^”]*”", r"\1", CODE.sub("", text))


def test_every_card_has_a_twin_and_every_twin_a_card() -> None:
    missing, spare = sorted(cards().keys() - TWINS.keys()), sorted(TWINS.keys() - cards().keys())
    assert not missing, f"{len(missing)} cards without a twin: {', '.join(missing)}"
    assert not spare, f"{len(spare)} twins without a card: {', '.join(spare)}"
    assert {path.suffix for path in (CARDS / CHINESE).iterdir()} == {".md"}


@each_twin
def test_a_twin_holds_the_same_code_links_papers_and_numbers(identity: str) -> None:
    english, chinese = facts(cards()[identity].prose), facts(TWINS[identity])
    differing = {kind: (english[kind] - chinese[kind], chinese[kind] - english[kind]) for kind in english if english[kind] != chinese[kind]}
    assert differing == {}, "(only in English, only in Chinese)"


@each_twin
def test_a_twin_has_the_same_paragraphs_under_the_same_headings(identity: str) -> None:
    headings = [heading(part) for part in paragraphs(cards()[identity].prose)]
    assert [word for word in headings if word and word not in HEADINGS] == []
    assert [heading(part) for part in paragraphs(TWINS[identity])] == [HEADINGS.get(word, "") for word in headings]


@each_twin
def test_a_twin_is_prose_in_chinese_and_nothing_else(identity: str) -> None:
    text = TWINS[identity]
    assert not text.startswith("---")
    assert len(re.findall(CJK, words(text))) > len(re.findall("[A-Za-z]", words(text)))
    for part in paragraphs(text):
        said = words(part)
        chinese, latin = len(re.findall(CJK, said)), len(re.findall("[A-Za-z]", said))  # of names, many in some paragraphs
        assert 2 * chinese > latin or not latin, part
        assert not re.search(r"[A-Za-z]+(?: [a-z]+){3}", said), part  # an English sentence among Chinese ones


@each_twin
def test_a_twin_is_set_as_chinese_is(identity: str) -> None:
    said = TWINS[identity]
    assert re.findall(rf"{CJK}[,.;:!?]|[,;:!?] ?{CJK}", words(said)) == [], "punctuation of English"
    assert re.findall(rf"{CJK}[A-Za-z0-9`]|[A-Za-z0-9`]{CJK}", said) == [], "no space between Chinese and Latin"
    assert [part for part in paragraphs(said) if BROKEN.search(part)] == [], "a line's end within a paragraph would show as a space"


def test_what_differs_between_a_card_and_its_twin_is_found() -> None:
    english = "DiT (arXiv 2212.09748; May 2024): `ddim`, 50 steps, 1.7 GB, https://a.b/c."
    assert facts(english) == facts("DiT（2024 年 5 月，arXiv 2212.09748）：`ddim`、50 步、1.7 GB，https://a.b/c。")
    for kind, old, new in (
        ("code", "`ddim`", "`ddpm`"), ("papers", "09748", "09749"), ("sizes", "GB", "MB"), ("numbers", "50", "5"), ("links", "a.b", "a.d"),
    ):  # fmt: skip
        assert facts(english.replace(old, new))[kind] != facts(english)[kind]


def test_prose_is_asked_for_by_language_and_a_users_card_has_only_its_own() -> None:
    card = cards()["dit-xl-2-256"]
    assert prose_in(card, CHINESE) == TWINS[card.id].strip() != card.prose
    assert prose_in(card, "fr") == card.prose
    theirs = parse("mine", (CARDS / f"{card.id}.md").read_text(encoding="utf-8"))
    assert prose_in(theirs, CHINESE) == theirs.prose


def test_the_page_shows_a_card_in_its_own_language_and_a_users_card_as_it_is(hub_with: Callable[..., Hub], browser: Browser) -> None:
    arch = {"input_size": 16, "patch_size": 4, "in_channels": 3, "hidden_size": 64, "depth": 2, "num_heads": 4}
    mine = {
        "title": "Mine", "family": "u-vit", "task": "unconditional-image-generation", "arch": arch,
        "weights": [{"from": "huggingface", "repo": "me/mine", "file": "mine.pt"}],
        "schedule": {"kind": "vp-sde", "beta_min": 0.1, "beta_max": 20}, "sampling": {"solver": "ddim", "steps": 5},
    }  # fmt: skip
    hub = hub_with({"mine": mine}, offline=True)
    with visitor(hub, browser) as page:
        prose = page.locator("#prose")
        page.get_by_role("tab", name="Models").click()
        page.locator("#models label").filter(has_text="Inception").click()
        expect(page.locator("#card h2")).to_have_text(hub.card("inception-v3").title)
        page.locator("button.label-wrap").filter(has_text=re.compile("^Card")).click()
        expect(prose).to_contain_text("The network whose features", use_inner_text=True)
        expect(prose).not_to_contain_text("距离", use_inner_text=True)
        page.evaluate("document.documentElement.lang = 'zh-CN'")
        expect(prose).to_contain_text("距离", use_inner_text=True)
        expect(prose.locator("[lang=zh-CN] strong").first).to_have_text("来源。")
        expect(prose).not_to_contain_text("The network whose features", use_inner_text=True)
        expect(prose).not_to_contain_text("zoo import")  # a page has buttons for that
        page.locator("#models label").filter(has_text="Mine").click()
        expect(prose).to_have_text("For a test.", use_inner_text=True)
        page.evaluate("document.documentElement.lang = 'en'")
        expect(prose).to_have_text("For a test.", use_inner_text=True)


def test_a_paragraph_of_commands_begins_alike_in_both_languages() -> None:
    assert tuple(f"**{word}**" for word in ("Import.", HEADINGS["Import."])) == COMMANDS
