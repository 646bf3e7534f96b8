"""One sentence of help a control, by its element id: the page shows it on hover, by keyboard focus and on a tap (page.js)."""

from __future__ import annotations

from zoo.ui.parts import film, opening, settings
from zoo.ui.tabs import add_model, image, models, video
from zoo.ui.tabs.compare import components, grid, votes
from zoo.ui.tabs.look import components as look

HELP: dict[str, str] = {
    **{f"{prefix}{word}": sentence for prefix in ("", "video-") for word, sentence in settings.HELP.items()},
    **film.HELP,
    **opening.HELP,
    **image.HELP,
    **video.HELP,
    **components.HELP,
    **grid.HELP,
    **votes.HELP,
    **look.HELP,
    **models.HELP,
    **add_model.HELP,
    **{f"{tab}-{word}": models.HELP[word] for tab in ("image", "video", "compare", "grid", "look") for word in ("accept", "cancel")},
}
