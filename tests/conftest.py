"""What every test needs: results in a folder of their own, one hub on the bundled models, the page, and an expected sentence."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partialmethod
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from gradio_client import Client
from loopback_hub import FILE, REPO, SIZE, LoopbackHub, loopback_hub
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

pytest_plugins = ("deploys", "shipped")
expect.set_options(timeout=60_000)
Client.__init__ = partialmethod(Client.__init__, httpx_kwargs={"timeout": 60})  # its own 5 s would be a test of how busy the machine is
ROOT = Path(__file__).parent.parent
CACHE = Path(tempfile.mkdtemp(prefix="patchwork-tests-"))
os.environ["PATCHWORK_CACHE"] = str(CACHE)
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two processes of tests share the cores: a thread that waits leaves them to others

OFF = (
    "WebUIOmniboxPopup,WebUIOmniboxAimPopup,"
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,LensOverlay,"
    "MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect,OptimizationHints,"
    "NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch"
)
"""Chromium's features that nobody sees here: the list of an address bar, which takes a fifth of what opening a page costs, and, because
the last such list is the one that counts, those that Playwright turns off itself."""

from zoo.catalog.card import Card, cards, parse  # noqa: E402
from zoo.catalog.settings import Serving  # noqa: E402
from zoo.catalog.store import Store  # noqa: E402
from zoo.engine.hub import Hub  # noqa: E402
from zoo.engine.kernel_choice import KernelChoice  # noqa: E402
from zoo.errors import ZooError  # noqa: E402

Value = TypeVar("Value")


def pytest_unconfigure() -> None:
    """Every process of the tests has a folder of its own, the one that only shares them out as well."""
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where this process of the tests keeps its results; gone afterwards."""
    return CACHE


@pytest.fixture(scope="session")
def hub() -> Hub:
    """A hub on the CPU with the bundled models, shared by all tests as it is by all visitors."""
    return Hub(device="cpu")


@pytest.fixture
def hub_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hub]:
    """hub_with({id: front matter under `zoo:`}): a hub in a folder of its own that also offers these cards."""

    def build(extra: dict[str, dict], **options: object) -> Hub:
        def card(name: str, words: dict) -> Card:
            head = {"license": words.get("license", "mit"), "zoo": {key: value for key, value in words.items() if key != "license"}}
            return parse(name, f"---\n{yaml.safe_dump(head)}---\nFor a test.")

        made = {name: card(name, words) for name, words in extra.items()}
        monkeypatch.setattr("zoo.catalog.own_cards.cards", lambda: cards() | made)
        return Hub(device="cpu", cache_dir=tmp_path / "cache", **options)

    return build


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One choice of kernels for all hubs of the tests: measured once, and the same pixels from each hub."""
    path = tmp_path_factory.mktemp("kernels") / "kernels.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.engine.hub.KernelChoice", lambda _: KernelChoice(path))
        yield


@pytest.fixture
def says() -> Callable[..., AbstractContextManager[pytest.ExceptionInfo]]:
    """says(kind, word, ...): the block raises this ZooError, in one line that holds every word and ends like a sentence."""

    @contextmanager
    def expect(kind: type[ZooError], *words: str) -> Iterator[pytest.ExceptionInfo]:
        with pytest.raises(kind) as caught:
            yield caught
        text = str(caught.value)
        assert "\n" not in text
        assert text.endswith(".")
        assert [word for word in words if word not in text] == [], text

    return expect


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """Hugging Face and ModelScope on this machine, and clients that know no other and have fetched nothing."""
    with loopback_hub() as server:
        for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(variable, server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
        monkeypatch.setattr("modelscope_hub.config._default_config", None)  # it would keep the first address and folder for ever
        monkeypatch.delenv("ZOO_HUB", raising=False)
        yield server


@pytest.fixture
def remote(hub_server: LoopbackHub) -> LoopbackHub:
    """A hub that holds one file of random bytes."""
    hub_server.files[REPO, FILE] = hub_server.files["plain", FILE] = os.urandom(SIZE)
    return hub_server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a folder of its own, with nothing in it."""
    return Store(tmp_path / "cache" / "models")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(folder: Path, cache: Path, *arguments: str) -> Iterator[str]:
    """The URL of a real `python app.py` that may not leave this machine, started in a folder and ended by its own process."""
    port, log = free_port(), cache / "app.log"
    environment = os.environ | {"PATCHWORK_CACHE": str(cache), "GRADIO_TEMP_DIR": str(cache / "gradio")}
    command = [sys.executable, str(ROOT / "tests" / "no_network.py"), str(cache / "left.log"), "app.py", "--port", str(port), *arguments]
    cache.mkdir(exist_ok=True)
    with log.open("w") as said:
        app = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert app.poll() is None, log.read_text()
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                break
            assert time.monotonic() < deadline, "the page did not come up in two minutes"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        app.terminate()
        app.wait(30)
    assert not (cache / "left.log").exists(), (cache / "left.log").read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


def run_async(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """What a coroutine returns, in a thread of its own: in that of a test, playwright may have an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@contextmanager
def serving(hub: Hub, **how: object) -> Iterator[str]:
    """The URL of the page of a hub that this process holds, as app.py launches it; how: other values of Serving."""
    from zoo import ui

    served = Serving(port=(port := free_port()), **how)
    page = ui.build(hub, login=served.with_login)
    ui.launch(page, hub, served, quiet=True)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        page.close()


@contextmanager
def visitor(hub: Hub, browser: Browser, width: int = 1280) -> Iterator[Page]:
    """The page of a hub in a browser."""
    with serving(hub) as url:
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.set_default_timeout(20_000)
        page.goto(url)
        expect(page.locator("#cost")).to_contain_text("about")
        yield page
        page.close()


@pytest.fixture(scope="session")
def server(cache: Path) -> Iterator[str]:
    """The hub's page, open for all tests; its results are in `cache`."""
    with running(ROOT, cache) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium as the system has it."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no browser: apt-get install chromium")
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--disable-features={OFF}",
    ]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=quiet)
        yield opened
        opened.close()


@contextmanager
def visiting(browser: Browser, server: str, **how: object) -> Iterator[BrowserContext]:
    """One visitor's browser; whatever his pages ask for must come from the server, and no script may fail. how: as of a new context.

    Except one of gradio's: the list of a dropdown that fades out while its choices become fewer looks for those that are gone.
    """
    visitor, asked, failed = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, "accept_downloads": True} | how), [], []
    visitor.set_default_timeout(60_000)
    visitor.on("request", lambda request: asked.append(request.url))
    visitor.on("weberror", lambda error: failed.append(f"{error.error} {error.error.stack}"))
    fading = "Cannot read properties of undefined (reading '0') TypeError"
    yield visitor
    visitor.close()
    assert [url for url in asked if not url.startswith((server, "data:", "blob:", server.replace("http", "ws")))] == []
    assert [words for words in failed if not words.startswith(fading) or "/assets/Index-" not in words] == []


@pytest.fixture
def context(browser: Browser, server: str) -> Iterator[BrowserContext]:
    """The browser of one test's visitor."""
    with visiting(browser, server) as visitor:
        yield visitor


@pytest.fixture
def page(context: BrowserContext, server: str) -> Page:
    """The hub's page, open and answering."""
    return opened(context, server)


def opened(context: BrowserContext, server: str, query: str = "") -> Page:
    """A page of a visitor that has arrived."""
    return arrived(context.new_page(), server + query)


def named(name: str) -> re.Pattern[str]:
    """What a list of classes shows of a class: its English name, and the Chinese one where there is one."""
    return re.compile(rf"^{re.escape(name)}( \| \S.*)?$")


def arrived(page: Page, url: str) -> Page:
    """A page that has come to an address: the cost of a run stands there."""
    page.goto(url)
    page.wait_for_function("document.querySelector('#cost p')?.innerText.startsWith('about')")
    return page
