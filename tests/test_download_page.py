"""A model that is not downloaded, on the page: offered in the place of Generate, with its licence, and never at the cost of a result."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import visitor
from loopback_hub import Faults, LoopbackHub
from playwright.sync_api import Browser, Page, expect

from zoo.engine.hub import Hub
from zoo.engine.verify import admit
from zoo.networks.build import build_module
from zoo.ui.parts.download import Downloads

REPO, FILE = "authors/model", "weights/model.pt"
SOURCES = [{"from": "huggingface", "repo": REPO, "file": FILE}, {"from": "modelscope", "repo": REPO, "file": FILE}]
SIZES = {"input_size": 16, "patch_size": 4, "in_channels": 3, "hidden_size": 256, "depth": 4, "num_heads": 4}
PIXELS = {
    "title": "Pixel model", "family": "u-vit", "task": "unconditional-image-generation", "arch": SIZES, "weights": SOURCES,
    "schedule": {"kind": "vp-sde", "beta_min": 0.1, "beta_max": 20}, "sampling": {"solver": "ddim", "steps": 5},
    "cost": {"params": 3_000_000},
}  # fmt: skip
FILM = PIXELS | {
    "title": "Film model", "family": "latte", "task": "unconditional-video-generation", "arch": SIZES | {"num_frames": 4, "num_classes": 0},
    "schedule": {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000},
}  # fmt: skip
BOUND = {"license": "cc-by-nc-4.0", "title": "Bound model"}


@pytest.fixture
def stock(hub_server: LoopbackHub, tmp_path: Path) -> Callable[[Hub, str], int]:
    """stock(hub, id): the loopback hub holds random weights of this model; their size."""

    def put(hub: Hub, name: str) -> int:
        state = build_module(hub.card(name)).state_dict()
        torch.save({key: torch.randn(value.shape) / 8 for key, value in state.items()}, tmp_path / "m.pt")
        hub_server.files[REPO, FILE] = (tmp_path / "m.pt").read_bytes()
        return len(hub_server.files[REPO, FILE])

    return put


def choose(page: Page, title: str, prefix: str = "") -> None:
    page.click(f"#{prefix}model input")
    page.get_by_role("option").filter(has_text=title).click()


def pictures(page: Page) -> list[str]:
    return page.eval_on_selector_all("#gallery .grid-container img", "(found) => found.map((one) => one.src)")


def expect_downloaded(page: Page, title: str) -> None:
    """The list of models comes to say that this one is on this machine."""
    option = page.get_by_role("option").filter(has_text=title)
    for _ in range(40):  # a list that is opened again while it still fades out shows the old choices (Svelte keeps it)
        page.click("#model input")
        expect(option).to_be_visible()
        if "not downloaded" not in option.inner_text():
            break
        page.click("#banner")
        expect(page.get_by_role("listbox")).to_have_count(0)
    expect(option).not_to_contain_text("not downloaded")


def generate_first(page: Page) -> list[str]:
    """Two pictures of the small DiT on screen; their addresses."""
    page.fill("#steps input", "3")
    page.fill("#count input[type=number]", "2")
    page.click("#generate")
    expect(page.locator("#gallery .grid-container img")).to_have_count(2, timeout=90_000)
    return pictures(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_generate_downloads_first_and_the_result_stays_all_the_while(
    hub_server: LoopbackHub, hub_with, stock, browser: Browser, width: int
) -> None:
    hub = hub_with({"pixels": PIXELS})
    size = stock(hub, "pixels")
    hub_server.faults = Faults(drip=0.05)
    with visitor(hub, browser, width) as page:
        before = generate_first(page)
        choose(page, "Pixel model")
        expect(page.locator("#generate")).to_have_text("Download about 12.0 MB, then generate")
        page.click("#generate")
        bar = page.locator("#image-transfer .line")
        expect(bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
        expect(page.locator("#image-transfer")).to_contain_text(re.compile(r"Pixel model from .* of .* MB, .* MB/s, .* left"))
        expect(page.locator("#image-transfer a")).to_have_attribute("href", "https://opensource.org/license/mit")
        expect(bar).to_be_in_viewport()
        expect(page.locator("#image-cancel")).to_be_in_viewport()
        assert pictures(page) == before
        page.click("#image-cancel")
        expect(page.locator("#image-transfer")).to_contain_text("The download of Pixel model was stopped")
        assert 0 < hub.store.unfinished_bytes() < size
        expect(page.locator("#gallery")).to_be_visible()
        assert pictures(page) == before
        hub_server.faults = Faults()
        page.click("#generate")
        page.wait_for_function(
            "(old) => { const now = document.querySelector('#gallery img'); return now && now.src !== old; }", arg=before[0]
        )
        expect(page.locator("#generate")).to_have_text("Generate")
        expect(page.locator("#facts")).to_contain_text("Pixel model")
        expect(page.locator("#image-transfer")).to_have_text("")
        assert int(hub_server.bodies()[-1].removeprefix("bytes=").rstrip("-")) > 0  # it went on from there
        expect_downloaded(page, "Pixel model")


def test_a_slow_browser_shows_the_end_of_a_quick_download(hub_server: LoopbackHub, hub_with, stock, browser: Browser) -> None:
    hub = hub_with({"pixels": PIXELS})
    stock(hub, "pixels")
    with visitor(hub, browser) as page:
        choose(page, "Pixel model")
        expect(page.locator("#generate")).to_have_text("Download about 12.0 MB, then generate")
        speed = page.context.new_cdp_session(page)
        speed.send("Emulation.setCPUThrottlingRate", {"rate": 10})
        page.click("#generate")
        expect(page.locator("#facts")).to_contain_text("Pixel model", timeout=90_000)
        speed.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        expect(page.locator("#generate")).to_have_text("Generate")
        expect(page.locator("#image-cancel")).to_be_hidden()
        expect_downloaded(page, "Pixel model")


def test_escape_cancels_the_download_of_the_open_tab(hub_server: LoopbackHub, hub_with, stock, browser: Browser) -> None:
    hub = hub_with({"pixels": PIXELS})
    stock(hub, "pixels")
    hub_server.faults = Faults(drip=0.05)
    with visitor(hub, browser) as page:
        choose(page, "Pixel model")
        page.click("#generate")
        expect(page.locator("#image-transfer .line")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
        page.keyboard.press("Escape")
        expect(page.locator("#image-transfer")).to_contain_text("was stopped")


def test_a_failed_download_is_said_once_and_leaves_the_result(
    hub_server: LoopbackHub, hub_with, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visitor(hub_with({"pixels": PIXELS}), browser) as page:
        before = generate_first(page)
        choose(page, "Pixel model")
        for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(variable, "http://127.0.0.1:1")
        page.click("#generate")
        expect(page.locator("#image-transfer .error")).to_have_text(
            "Hugging Face and ModelScope could not be reached for Pixel model: check the network, HF_ENDPOINT and MODELSCOPE_ENDPOINT, "
            "then try again."
        )
        for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(variable, hub_server.url)
        page.click("#generate")  # it is back, and another reason is said once, too
        expect(page.locator("#image-transfer .error")).to_contain_text(f"{REPO} on Hugging Face and {REPO} on ModelScope: not found (404)")
        expect(page.locator("#image-transfer")).not_to_contain_text("python -m")
        expect(page.locator("#generate")).to_have_text("Download about 12.0 MB, then generate")
        assert pictures(page) == before


def test_what_is_wrong_with_the_settings_is_said_before_anything_is_downloaded(
    hub_server: LoopbackHub, hub_with, stock, browser: Browser
) -> None:
    hub = hub_with({"pixels": PIXELS})
    stock(hub, "pixels")
    with visitor(hub, browser) as page:
        choose(page, "Pixel model")
        page.fill("#seed textarea, #seed input", "abc")
        page.click("#generate")
        expect(page.locator("#progress .error")).to_contain_text("not abc")
    assert hub_server.bodies() == []


def test_a_licence_that_binds_is_linked_and_accepted_before_the_first_byte(
    hub_server: LoopbackHub, hub_with, stock, browser: Browser
) -> None:
    hub = hub_with({"pixels": PIXELS, "bound": PIXELS | BOUND})
    stock(hub, "bound")
    with visitor(hub, browser) as page:
        before = generate_first(page)
        choose(page, "Bound model")
        page.click("#generate")
        link = page.locator("#image-transfer a")
        expect(link).to_have_text("cc-by-nc-4.0, no commercial use")
        expect(link).to_have_attribute("href", "https://creativecommons.org/licenses/by-nc/4.0/")
        page.click("#image-cancel")  # not now
        expect(page.locator("#image-accept")).to_be_hidden()
        page.click("#generate")
        expect(page.locator("#image-accept")).to_be_visible()
        choose(page, "Pixel model")  # another model takes the question back
        expect(page.locator("#image-accept")).to_be_hidden()
        expect(page.locator("#image-transfer")).to_have_text("")
        expect(page.locator("#generate")).to_be_visible()
        assert hub_server.log == []
        assert pictures(page) == before
        choose(page, "Bound model")
        page.click("#generate")
        page.click("#image-accept")
        page.wait_for_function(
            "(old) => { const now = document.querySelector('#gallery img'); return now && now.src !== old; }", arg=before[0]
        )
        expect(page.locator("#facts")).to_contain_text("Bound model")


def test_an_autoencoder_alone_is_offered_with_its_own_size(hub_with, browser: Browser, stock, tmp_path: Path) -> None:
    vae = {
        "title": "Missing VAE", "family": "autoencoder-kl", "task": "autoencoder", "cost": {"params": 50_000_000}, "weights": SOURCES,
        "arch": {"latent_channels": 4, "block_out_channels": [128, 256, 512, 512]},
    }  # fmt: skip
    latent = PIXELS | {"title": "Latent model", "arch": SIZES | {"in_channels": 4}, "latent": {"vae": "missing-vae", "scale": 1.0}}
    hub = hub_with({"latent": latent, "missing-vae": vae})
    torch.save(build_module(hub.card("latent")).state_dict(), tmp_path / "mine.pt")
    admit(hub.store, hub.card("latent"), [tmp_path / "mine.pt"])
    with visitor(hub, browser) as page:
        choose(page, "Latent model")
        expect(page.locator("#generate")).to_have_text("Download about 200.0 MB, then generate")
        expect(page.locator("#cost")).to_have_text("Not downloaded: Missing VAE (about 200.0 MB).")


def test_a_video_model_is_downloaded_and_then_generates(hub_server: LoopbackHub, hub_with, stock, browser: Browser) -> None:
    hub = hub_with({"film": FILM})
    stock(hub, "film")
    hub_server.faults = Faults(drip=0.02)
    with visitor(hub, browser) as page:
        page.get_by_role("tab", name="Video").click()
        page.fill("#video-steps input", "3")
        page.click("#video-generate")
        expect(page.locator("#player video")).to_be_visible(timeout=90_000)
        choose(page, "Film model", "video-")
        page.click("#video-generate")
        expect(page.locator("#video-transfer .line")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
        expect(page.locator("#player video")).to_be_visible()
        expect(page.locator("#video-facts")).to_contain_text(re.compile("Film model.* 4 frames"), timeout=60_000)
        expect(page.locator("#video-generate")).to_have_text("Generate")


# ---- who may


def test_only_a_page_that_no_other_machine_reaches_downloads_by_default(hub_with, monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(name: str, share: bool = False, **options: object) -> bool:
        downloads = Downloads(hub_with({}, **options))
        downloads.page = SimpleNamespace(server_name=name, share=share)  # as gradio's Blocks is once it listens
        return downloads.allowed

    assert [allowed(name) for name in ("127.0.0.1", "localhost", "::1")] == [True] * 3
    assert [allowed(name) for name in ("0.0.0.0", "::", "192.168.0.7", "hub.example.org")] == [False] * 4
    assert not allowed("127.0.0.1", share=True)
    assert allowed("0.0.0.0", downloads=True)
    assert not allowed("127.0.0.1", downloads=False)
    monkeypatch.setenv("PATCHWORK_DOWNLOADS", "1")
    assert allowed("0.0.0.0")
    monkeypatch.setenv("PATCHWORK_DOWNLOADS", "0")
    assert not allowed("127.0.0.1")


def press_anyway(page: Page, selector: str) -> None:
    """Press a button that the page has disabled or hidden, as somebody would who wants in."""
    page.eval_on_selector(selector, "(button) => { button.disabled = false; button.click(); }")


def test_where_visitors_may_not_download_the_page_says_who_may_and_the_server_refuses(
    hub_server: LoopbackHub, hub_with, stock, browser: Browser
) -> None:
    hub = hub_with({"pixels": PIXELS}, downloads=False)
    stock(hub, "pixels")
    words = "only the person who runs this hub can download it"
    with visitor(hub, browser) as page:
        choose(page, "Pixel model")
        expect(page.locator("#cost")).to_contain_text(words)
        expect(page.locator("#generate")).to_be_disabled()
        press_anyway(page, "#generate")
        expect(page.locator("#image-transfer .error")).to_contain_text(words)
        page.get_by_role("tab", name="Models").click()
        page.locator("#models label", has_text="Pixel model").click()
        expect(page.locator("#card")).to_contain_text(words)
        expect(page.locator("#get")).to_be_disabled()
        press_anyway(page, "#get")
        expect(page.locator("#transfer .error")).to_contain_text(words)
    assert hub_server.log == []


def test_where_visitors_may_not_download_they_may_not_remove_either(hub_server: LoopbackHub, hub_with, stock, browser: Browser) -> None:
    hub = hub_with({"pixels": PIXELS}, downloads=True)
    stock(hub, "pixels")
    list(hub.fetch("pixels"))
    with visitor(hub, browser) as page:
        page.get_by_role("tab", name="Models").click()
        page.locator("#models label", has_text="Pixel model").click()
        page.click("#remove")
        expect(page.locator("#remove-sure")).to_be_visible()
        hub.downloads = False
        page.click("#remove-sure")
        expect(page.locator("#transfer .error")).to_have_text("Only the person who runs this hub can remove a model.")
        assert hub.store.find(hub.card("pixels"))
        page.locator("#models label", has_text="tiny DiT").click()
        page.locator("#models label", has_text="Pixel model").click()
        expect(page.locator("#use")).to_be_visible()
        expect(page.locator("#remove")).to_be_hidden()


def test_a_hub_that_is_offline_says_so_on_the_page(hub_with, browser: Browser) -> None:
    with visitor(hub_with({"pixels": PIXELS}, offline=True), browser) as page:
        choose(page, "Pixel model")
        expect(page.locator("#cost")).to_contain_text("this hub is offline: choose a model that is downloaded.")
        expect(page.locator("#generate")).to_be_disabled()
        choose(page, "tiny U-ViT")
        expect(page.locator("#generate")).to_be_enabled()


# ---- the Models tab


def test_a_model_is_downloaded_cancelled_resumed_used_and_removed_on_the_models_tab(
    hub_server: LoopbackHub, hub_with, stock, browser: Browser
) -> None:
    hub = hub_with({"pixels": PIXELS})
    size = stock(hub, "pixels")
    hub_server.faults = Faults(drip=0.05)
    with visitor(hub, browser) as page:
        page.get_by_role("tab", name="Models").click()
        row = page.locator("#models label", has_text="Pixel model")
        row.click()
        expect(page.locator("#card h2")).to_have_text("Pixel model")
        expect(page.locator("#card .facts")).to_contain_text(f"{REPO} on Hugging Face, {REPO} on ModelScope")
        expect(page.locator("#get")).to_have_text("Download about 12.0 MB")
        page.click("#get")
        expect(page.locator("#transfer .line")).to_have_attribute("aria-valuenow", re.compile(r"[1-9]"))
        page.locator("#models label", has_text="tiny U-ViT").click()  # reading another card disturbs nothing
        expect(page.locator("#card h2")).to_have_text("tiny U-ViT")
        expect(page.locator("#transfer")).to_contain_text(re.compile(r"Pixel model from .* MB/s, .* left"))
        page.click("#cancel")
        expect(page.locator("#transfer")).to_contain_text("was stopped")
        expect(page.locator("#card h2")).to_have_text("tiny U-ViT")
        assert 0 < hub.store.unfinished_bytes() < size
        row.click()
        hub_server.faults = Faults()
        page.click("#get")
        expect(page.locator("#transfer")).to_contain_text("Pixel model is downloaded and checked.")
        assert 0 < int(hub_server.bodies()[-1].removeprefix("bytes=").rstrip("-")) < size
        expect(row).to_contain_text("MB · downloaded")
        expect(page.locator("#get")).to_be_hidden()
        page.click("#use")
        expect(page.locator("#model input")).to_have_value(re.compile("Pixel model"))
        expect(page.locator("#generate")).to_have_text("Generate")
        page.get_by_role("tab", name="Models").click()
        page.click("#remove")
        expect(page.locator("#transfer")).to_contain_text("Remove the files of Pixel model")
        page.click("#remove-not")
        expect(page.locator("#remove")).to_be_visible()
        assert hub.store.find(hub.card("pixels"))
        page.click("#remove")
        page.click("#remove-sure")
        expect(page.locator("#transfer")).to_contain_text("MB are free again")
        expect(row).to_contain_text("not downloaded")
        page.get_by_role("tab", name="Image").click()
        expect(page.locator("#generate")).to_have_text("Download about 12.0 MB, then generate")
    assert hub.store.find(hub.card("pixels")) is None


def test_a_video_model_that_is_not_downloaded_has_its_tab(hub_with, browser: Browser) -> None:
    hub = hub_with({}, models=["tiny-dit", "tiny-vae", "latte-s-2-ffs", "sd-vae-ft-ema"])
    with visitor(hub, browser) as page:
        page.get_by_role("tab", name="Video").click()
        expect(page.locator("#video-model input")).to_have_value(re.compile("Latte-S/2 FaceForensics.*not downloaded"))
        expect(page.locator("#video-cost")).to_contain_text(re.compile(r"Not downloaded: Latte-S/2 FaceForensics \(130.4 MB\) and SD VAE "))
        expect(page.locator("#video-generate")).to_have_text("Download about 465.0 MB, then generate")


def test_the_models_tab_asks_for_consent_too_and_shows_the_failure_once(hub_server: LoopbackHub, hub_with, browser: Browser) -> None:
    with visitor(hub_with({"bound": PIXELS | BOUND}), browser) as page:
        page.get_by_role("tab", name="Models").click()
        page.locator("#models label", has_text="Bound model").click()
        expect(page.locator("#card .facts a")).to_have_attribute("href", "https://creativecommons.org/licenses/by-nc/4.0/")
        page.click("#get")
        expect(page.locator("#transfer")).to_contain_text("Bound model: cc-by-nc-4.0, no commercial use")
        assert hub_server.log == []
        page.click("#accept")
        expect(page.locator("#transfer .error")).to_contain_text("not found (404)")
        expect(page.locator("#get")).to_be_visible()


def test_errors_keep_commands_apart_from_what_the_page_says() -> None:
    """Texts of errors reach the page; what helps at a terminal is their `command`, which only the command line prints."""
    told = [
        (path.name, ast.unparse(text))
        for path in (Path(__file__).parent.parent / "zoo").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")
        for text in node.args
    ]
    assert len(told) > 100
    assert [place for place in told if re.search(r"python -m|git checkout|hf download|by_hand", place[1])] == []
