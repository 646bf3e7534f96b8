"""Every scheduler of diffusers that is accepted brings tiny-dit to the class that was asked for, and the README names just those."""

from __future__ import annotations

import re
from pathlib import Path

import diffusers
import pytest

from zoo.compare.metrics import quality_of
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.errors import RequestError

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\w+Scheduler\b", README.partition("25 evaluations:")[2].partition(".\n")[0])


def asked(kind: str) -> Request:
    return Request("tiny-dit", labels=(1, 4, 9), seeds=(0, 1, 2), steps=25, solver=f"diffusers:{kind}")


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept")  # NumPy, of diffusers' products
def test_the_readme_names_those_that_are_accepted(hub: Hub) -> None:
    accepted = set()
    for kind in (name for name in dir(diffusers) if name.endswith("Scheduler")):
        try:
            accepted.add(asked(kind).resolved(hub.card("tiny-dit")) and kind)
        except RequestError:
            pass
    assert accepted == set(NAMED)
    assert len(NAMED) == len(accepted)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept")
@pytest.mark.parametrize("kind", NAMED)
def test_it_reaches_the_class(hub: Hub, kind: str) -> None:
    *_, result = hub.generate(asked(kind), preview=False, visitor=None)
    assert result.request.steps == 25
    assert quality_of(hub, hub.card("tiny-dit"), result.images, [1, 4, 9])["recognised"] == 3
