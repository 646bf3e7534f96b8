"""The page in Chinese: nothing of it stays English but names, nothing is cut off, and its English is back at once and exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from conftest import serving, visiting
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_accessibility import findings
from test_login import line

from zoo.catalog.card import cards
from zoo.engine.hub import Hub
from zoo.engine.request import SOLVERS
from zoo.ui import language
from zoo.ui.parts.class_list import BETWEEN, class_names

TABS = {"Image": "图像", "Video": "视频", "Compare": "对比", "Look inside": "查看内部", "Models": "模型"}
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
NAMES = (
    r"Patchwork|PNG|SVG|GIF|MP4|WEBP|ZIP|MLP|LayerNorm|GroupNorm(, SiLU)?"  # formats and parts of networks, the same in Chinese
    r"|ddpm|ddim|dpm-solver(\+\+)?|euler(-maruyama)?|heun|unipc|dopri5|diffusers:\w+|fast|[\w-]+ {}"  # as an API has them
    r"|[a-z]+-[\d.]+|cc-by[\w.-]*|mit|openrail[\w-]*|[\w.-]+ [KMG]?B|[ABCD]"  # licences, sizes, columns
)
"""What may stand on the page in Latin letters alone, beside the titles of models and the names of classes."""
SPOKEN = """() => {
    const texts = [];
    const of = (text, kept) => { if (/[A-Za-z]{2}/.test(text)) { texts.push([text.trim(), Boolean(kept)]); } };
    eachSpoken(document.body, (node) => { if (!node.parentElement.closest("#prose")) { of(node.data, language.texts.get(node)); } },
        (element, name) => of(element.getAttribute(name), language.attributes.get(element)?.[name]));
    return texts;
}"""
"""Everything that is said on the page in Latin letters, and whether it is a translation; the prose of cards has twins of its own."""
EVERYTHING = """() => {
    const texts = [];
    eachSpoken(document.documentElement,
        (node) => texts.push(node.data), (element, name) => texts.push(`${name}=${element.getAttribute(name)}`),
        (list) => texts.push(inputValue.get.call(list)));
    return texts;
}"""
CUT_OFF = """() => {
    const cut = [], walker = document.createTreeWalker(openPanel().closest("#tabs"), NodeFilter.SHOW_TEXT), range = document.createRange();
    while (walker.nextNode()) {
        const node = walker.currentNode, own = node.parentElement;
        if (!node.data.trim() || !own.checkVisibility({ visibilityProperty: true })) { continue; }
        if (own.closest(".dropped, [aria-hidden=true]")) { continue; }
        range.selectNodeContents(node);
        const { left, right, width } = range.getBoundingClientRect();
        for (let box = own; width && box && box.id !== "tabs"; box = box.parentElement) {
            const { overflowX, position } = getComputedStyle(box), edge = box.getBoundingClientRect();
            if (edge.width < 3) { break; }
            if (overflowX === "auto" || overflowX === "scroll" || position === "fixed") { break; }
            if (overflowX !== "visible" && (left < edge.left - 1 || right > edge.right + 1)) { cut.push(node.data.trim()); break; }
        }
        for (const box of [own, own.closest("button, label, h3, th")]) {  // the text alone, and not the mark beside it
            const edge = box?.getBoundingClientRect();
            if (edge?.width >= 3 && box.closest("button, label, h3, th") && (left < edge.left - 1 || right > edge.right + 1)) {
                cut.push(node.data.trim());
            }
        }
    }
    if (document.documentElement.scrollWidth > innerWidth) { cut.push(`the page is ${document.documentElement.scrollWidth} wide`); }
    return cut;
}"""


def arrived(context: BrowserContext, url: str) -> Page:
    """The page once it speaks Chinese, and knows what a run costs."""
    page = context.new_page()
    page.goto(url)
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#cost p")).to_contain_text("约")
    return page


@pytest.fixture(scope="module")
def chinese(browser: Browser, server: str) -> Iterator[Page]:
    """The page in a browser that speaks Chinese, whose opening film stands, for tests that leave it as it was."""
    with visiting(browser, server, locale="zh-CN", reduced_motion="reduce") as context:
        yield arrived(context, server)


def go(page: Page, tab: str) -> None:
    """Open a tab, by what it says in Chinese."""
    page.get_by_role("tab", name=TABS.get(tab, tab), exact=True).click()
    if tab == "Look inside":
        expect(page.locator("#look-status")).to_be_attached()
    page.wait_for_function("!document.querySelector('.first.pending, .generating')")


def views(page: Page) -> Iterator[str]:
    """Every tab, one after the other, with all that is folded open."""
    for tab in TABS:
        go(page, tab)
        for view in ("X/Y 网格", "投票", "并排对比") if tab == "Compare" else ("",):
            if view:
                go(page, view)
            page.evaluate("openPanel().querySelectorAll('button.label-wrap:not(.open)').forEach((one) => one.click())")
            page.wait_for_timeout(300)  # what unfolds is built then
            yield f"{tab} {view}"


def known_names() -> set[str]:
    """Titles and ids of models, licences, and the names of classes, of which a table of its own has the twins."""
    every = cards().values()
    return {word for card in every for word in (card.title, card.id, card.licence, *card.label_names)}


def in_both() -> set[str]:
    """What the lists of classes say in either language: the English name and the Chinese one, as `dog | 狗`."""
    return {name for card in cards().values() for name in class_names(card) if BETWEEN in name}


# ---- the tables


@pytest.mark.parametrize("part", language.parts())
def test_every_text_and_its_twin_have_the_same_places(part: str) -> None:
    for english, twin in language.parts()[part].items():
        count, numbered = english.count("{}"), re.findall(r"\{(\d+)\}", twin)
        places = sorted(map(int, numbered)) if numbered else list(range(1, twin.count("{}") + 1))
        assert set(places) == set(range(1, count + 1)), (english, twin)
        assert not (numbered and "{}" in twin), (english, twin)
        assert english == english.strip(), english
        assert twin.strip(), english


def test_a_text_that_stands_in_two_tables_says_the_same_in_both() -> None:
    said: dict[str, str] = {}
    for part, table in language.parts().items():
        for english, twin in table.items():
            assert said.setdefault(english, twin) == twin, (part, english)


def test_all_tables_are_of_the_page_s_own_words_in_chinese() -> None:
    same = {english for english, twin in language.table().items() if english == twin and re.search(r"[a-z]{4}", english)}
    assert {text for text in same if text not in known_names()} == set()


# ---- the page


def test_a_chinese_browser_gets_the_page_in_chinese_and_gradio_stays_english_for_the_table(chinese: Page) -> None:
    assert chinese.evaluate("tabs().map((tab) => tab.textContent.trim())") == list(TABS.values())
    assert chinese.evaluate("tabs().map((tab) => inEnglish(tab).trim())") == list(TABS)
    assert chinese.evaluate("navigator.language") == "en"
    expect(chinese.locator("#language")).to_have_text("English", use_inner_text=True)
    expect(chinese.locator("#banner p")).to_contain_text("扩散 Transformer")


def test_no_string_of_the_page_lacks_its_twin(chinese: Page) -> None:
    names, left = known_names(), {}
    titles = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    for view in views(chinese):
        for text, translated in chinese.evaluate(SPOKEN):
            alone = re.fullmatch(NAMES.replace("{}", r"[\d., ]+"), text) or all(word.strip() in names for word in re.split("[:·,]", text))
            rest = re.sub(titles, "", text) if translated else text
            letters = re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", rest)  # three words of a sentence
            if (letters if translated else not alone) and text not in names:
                left.setdefault(text, view)
    assert left == {}


def test_what_the_page_may_show_later_has_its_twin_too(chinese: Page, hub: Hub) -> None:
    from zoo import ui
    from zoo.ui.help import HELP

    parts = [part["props"] for part in ui.build(hub).config["components"]]
    texts = {part.get(word) for part in parts for word in ("label", "placeholder", "info")} | {*HELP.values()}
    texts |= {part.get("value") for part in parts if part.get("name") in ("button", "uploadbutton", "downloadbutton")}
    texts |= {choice[0] for part in parts for choice in part.get("choices") or () if isinstance(choice, (list, tuple))}
    asked = sorted(text for text in texts - in_both() if isinstance(text, str) and re.search("[A-Za-z]{2}", text))
    twins = chinese.evaluate("(texts) => texts.map((text) => twinOf(text))", asked)
    lacking = [
        text for text, twin in zip(asked, twins, strict=True) if twin is None and not re.fullmatch(NAMES.replace("{}", "[^ ]+"), text)
    ]
    for_programs = re.compile(r"1st|[a-z]+(_[a-z]+)*|[a-z-]+(,([\d.]+|data|noise))+")  # parameters of the API, schedules
    lacking = [text for text in lacking if text not in SOLVERS and not for_programs.fullmatch(text)]
    assert [text for text in lacking if not {word.strip() for word in text.split(" · ")} & known_names()] == []


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_cut_off_in_chinese(chinese: Page, size: str) -> None:
    width, height = SIZES[size]
    chinese.set_viewport_size({"width": width, "height": height})
    assert {view: cut for view in views(chinese) if (cut := chinese.evaluate(CUT_OFF))} == {}
    chinese.set_viewport_size({"width": 1280, "height": 860})


def test_the_switch_is_as_large_as_a_finger_and_axe_finds_nothing_serious(browser: Browser, server: str) -> None:
    with visiting(browser, server, locale="zh-CN", viewport={"width": 390, "height": 844}) as context:
        page = arrived(context, server)
        box = page.locator("#language").bounding_box()
        assert min(box["width"], box["height"]) >= 44
        assert findings(page) == []


def test_there_and_back_the_english_is_the_same_to_the_letter(chinese: Page) -> None:
    go(chinese, "Image")
    chinese.locator("#language").click()
    expect(chinese.locator("html")).to_have_attribute("lang", "en")
    english = chinese.evaluate(EVERYTHING)
    assert {text for text in english if re.search("[\u4e00-\u9fff]", text)} <= in_both()
    chinese.locator("#language").press("Enter")
    expect(chinese.get_by_role("tab", name="查看内部")).to_be_visible()
    assert len([text for text in chinese.evaluate(EVERYTHING) if re.search("[\u4e00-\u9fff]", text)]) > 100
    chinese.evaluate("speak('en')")
    assert chinese.evaluate(EVERYTHING) == english
    chinese.evaluate("speak('zh-CN')")


def test_the_switch_stays_after_a_reload(browser: Browser, server: str) -> None:
    with visiting(browser, server) as context:
        page = context.new_page()
        page.goto(server)
        expect(page.locator("#cost p")).to_contain_text("about")
        assert page.locator("html").get_attribute("lang") == "en"
        page.click("#language")
        expect(page.locator("#generate")).to_have_text("生成")
        page.reload()
        expect(page.locator("#generate")).to_have_text("生成")
        page.click("#language")
        expect(page.locator("#generate")).to_have_text("Generate")
        page.reload()
        expect(page.locator("#generate")).to_have_text("Generate")


def test_without_its_table_the_page_stays_english_and_says_so(browser: Browser, server: str) -> None:
    with visiting(browser, server) as context:
        context.route("**/files/zh-CN.json*", lambda route: route.fulfill(status=503, body="no"))
        page, said = context.new_page(), []
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
        page.goto(server)
        expect(page.locator("#generate")).to_have_text("Generate")
        page.click("#language")
        page.wait_for_function("language.table === null")
        assert said == ["The Chinese text of this page did not arrive: try again when the server answers."]
        context.unroute_all()
        page.click("#language")
        expect(page.locator("#generate")).to_have_text("生成")


# ---- what happens on it


def test_a_run_is_told_in_chinese_and_the_tabs_know_each_other(chinese: Page) -> None:
    go(chinese, "Image")
    chinese.locator("#seed input, #seed textarea").first.fill("5")
    chinese.locator("#steps input[type=number]").fill("4")
    chinese.locator("#count input[type=number]").fill("1")
    chinese.keyboard.press("Tab")
    chinese.click("#generate")
    expect(chinese.locator("#facts")).to_contain_text("种子 5 · ")
    expect(chinese.locator("#facts")).to_contain_text(re.compile(r"引导强度 [\d.]+ · [\d.]+ 秒"))
    go(chinese, "Models")
    chinese.wait_for_url("**tab=models**")
    chinese.go_back()
    expect(chinese.get_by_role("tab", name="图像")).to_have_attribute("aria-selected", "true")


def test_an_error_is_said_in_chinese(browser: Browser, server: str) -> None:
    with visiting(browser, server, locale="zh-CN") as context:
        page = arrived(context, server)
        page.click("#beside")
        expect(page.locator("#compare-note .error")).to_have_text(
            language.said("Generate a picture or a video first, then compare its setting with another.", language.CHINESE)
        )
        assert re.search("[\u4e00-\u9fff]", page.locator("#compare-note .error").inner_text())


def test_a_list_shows_its_choice_in_chinese_and_scripts_read_what_the_server_knows(chinese: Page) -> None:
    go(chinese, "Models")
    expect(chinese.locator("#filter input")).to_have_value("所有模型")  # playwright reads what is seen
    assert chinese.evaluate("document.querySelector('#filter input').value") == "All models"
    chinese.click("#filter input")
    chinese.get_by_role("option", name="本机已有").click()
    expect(chinese.locator("#filter input")).to_have_value("本机已有")
    expect(chinese.get_by_label("DiT-XL/2 256")).to_have_count(0)
    chinese.click("#filter input")
    chinese.get_by_role("option", name="所有模型").click()


def test_code_texts_of_a_language_and_what_somebody_wrote_are_left_alone(chinese: Page) -> None:
    chinese.evaluate(
        """() => { const box = document.createElement("div"); box.id = "probe"; document.body.append(box);
        const written = "<textarea placeholder=Seed>Generate</textarea><input value=Generate>";
        box.innerHTML = `<code>Generate</code><p lang=en>Generate</p>${written}<b>Generate</b>`; }"""
    )
    expect(chinese.locator("#probe b")).to_have_text("生成")
    assert chinese.locator("#probe").evaluate("(box) => [...box.children].slice(0, 3).map((one) => one.textContent)") == ["Generate"] * 3
    assert (
        chinese.locator("#probe").evaluate("(box) => [...box.querySelectorAll('textarea, input')].map((one) => one.value)")
        == ["Generate"] * 2
    )
    expect(chinese.locator("#probe textarea")).to_have_attribute("placeholder", "种子")
    chinese.evaluate("document.querySelector('#probe b').firstChild.data = 'Stop'")
    expect(chinese.locator("#probe b")).to_have_text("停止")
    chinese.evaluate("document.querySelector('#probe').remove()")


def test_at_rest_nothing_is_written_on_the_page(chinese: Page) -> None:
    go(chinese, "Image")
    chinese.wait_for_timeout(1000)
    written = chinese.evaluate(
        """async () => { let count = 0; const seen = new MutationObserver((changes) => { count += changes.length; });
        seen.observe(document.body, { subtree: true, characterData: true, childList: true, attributeFilter: SPOKEN });
        await new Promise((done) => setTimeout(done, 1500)); seen.disconnect(); return count; }"""
    )
    assert written == 0


@pytest.mark.parametrize(
    ("english", "twin"),
    [
        ("step 3 of 25, 1.2 s left, 5.0 steps/s", "第 3/25 步，还剩 1.2 秒，每秒 5.0 步"),
        ("tiny DiT · seed 3 · 25 steps ddim · guidance 2 · running", "tiny DiT · 种子 3 · ddim 25 步 · 引导强度 2 · 运行中"),
        ("Take 25 steps of dpm-solver++: about 3 min", "改用 dpm-solver++ 采样 25 步：约需 3 分钟"),
        ("Image: Generate", "图像：生成"),
        ("All start from the same noise. Nobody knows this sentence.", "各列都从同样的噪声开始。Nobody knows this sentence."),
        ("Nobody knows of 3 steps that this sentence takes", None),
    ],
)
def test_a_text_is_found_whole_by_pattern_or_by_its_parts(chinese: Page, english: str, twin: str | None) -> None:
    assert chinese.evaluate("(text) => twinOf(text)", english) == twin


# ---- the login


@pytest.fixture(scope="module")
def guarded(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page that asks for a login."""
    users = tmp_path_factory.mktemp("login") / "users.txt"
    users.touch(mode=0o600)
    users.write_text(line("ada"))
    with serving(hub, auth_file=str(users)) as address:
        yield address.rstrip("/")


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-GB,en;q=0.9,zh;q=0.5", "en"),
        ("", "en"),
        ("fr,zh;q=0.3", "zh-CN"),
        ("zh;q=0,en;q=0", "en"),
    ],
)
def test_the_login_speaks_the_browser_s_language(guarded: str, accepted: str, spoken: str) -> None:
    headers = {"accept": "text/html", "accept-language": accepted}
    page = httpx.get(guarded, headers=headers)
    wrong = httpx.post(f"{guarded}/login", data={"username": "ada", "password": "no", "next": "/"}, headers=headers)
    assert f'<html lang="{spoken}"' in page.text
    assert "accept-language" in page.headers["vary"]
    for text, answer in (("Log in to open this page.", page), ("The name or the password is wrong.", wrong), ("User name", page)):
        assert (text in answer.text) == (spoken == "en")
        assert language.said(text, spoken) in answer.text
