"""What every test needs: results in a folder of their own, one hub on the bundled models, and an expected sentence."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

CACHE = Path(tempfile.mkdtemp(prefix="patchwork-tests-"))
os.environ["PATCHWORK_CACHE"] = str(CACHE)
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from zoo.errors import ZooError  # noqa: E402
from zoo.hub import Hub  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def cache() -> Iterator[Path]:
    """Where this run of the tests keeps its results; gone afterwards."""
    yield CACHE
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def hub() -> Hub:
    """A hub on the CPU with the bundled models, shared by all tests as it is by all visitors."""
    return Hub(device="cpu")


@pytest.fixture
def says() -> Callable[..., AbstractContextManager[None]]:
    """says(kind, word, ...): the block raises this ZooError, in one line that holds every word and ends like a sentence."""

    @contextmanager
    def expect(kind: type[ZooError], *words: str) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        text = str(caught.value)
        assert "\n" not in text
        assert text.endswith(".")
        assert [word for word in words if word not in text] == [], text

    return expect
