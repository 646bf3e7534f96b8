"""What the page says to somebody who is logged in: who he is, and the way out."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from zoo.ui.server.login.form import root
from zoo.ui.server.login.guard import FROM_HUB


def greet(histories: int) -> Callable[[gr.Request], list[Any]]:
    """A handler that says who is logged in, and whose so many histories are: his, on every browser."""

    def say(asked: gr.Request) -> list[Any]:
        scope = asked.request.scope
        name = html.escape(scope["user"].removeprefix(FROM_HUB))
        out = f'<form method="post" action="{html.escape(root(scope))}/logout"><button>Log out</button></form>'
        return [f'<div class="who"><span>{name}</span>{out}</div>', *[gr.update(label="Your history")] * histories]

    return say
