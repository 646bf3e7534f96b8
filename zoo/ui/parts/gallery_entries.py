"""What the API gives as pictures: previews inside the answer, of which no file is left, and finished files without a second copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder

from zoo.catalog.files import atomic_write, private_folder
from zoo.errors import MediaError
from zoo.ui.parts import markup

SERVED: set[str] = set()
"""Links that were made for answers; gradio deletes those of `page.temp_file_sets` once they are a day old."""


def previews(images: np.ndarray) -> list[dict[str, Any]]:
    """Entries of a gallery from (b, h, w, 3) uint8, each inside its `url`. It encodes: not for the event loop.

    An entry without a path makes gradio 6 write no file, and its clients give it on as it is; for an event with postprocess=False.
    """
    return [{"image": {"path": None, "url": markup.picture_url(image)}, "caption": None} for image in images]


def files(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Entries of a gallery from files, for an event with postprocess=False."""
    return [{"image": file(path), "caption": None} for path in paths]


def file(path: Path) -> dict[str, Any]:
    """One file as an answer holds it, which gr.File takes as well with postprocess=False."""
    return gr.FileData(path=str(served(path)), orig_name=path.name).model_dump()


def served(path: Path) -> Path:
    """Where gradio finds a file without copying it in its event loop: a link in its own folder, or else a copy.

    The link stays what it is while the file is written again under its name, or pruned. Raises MediaError where it is gone already.
    """
    try:
        state = path.stat()
    except OSError:
        raise MediaError(f"{path.name} is no longer there: make it once more.") from None
    folder = Path(get_upload_folder()) / sha256(f"{path} {state.st_ino} {state.st_mtime_ns}".encode()).hexdigest()
    link = folder / path.name
    if not link.exists():
        private_folder(folder)
        try:
            os.link(path, link)
        except FileExistsError:  # somebody asked at the same time
            pass
        except OSError:  # another disk
            with atomic_write(link, private=True) as part:
                shutil.copyfile(path, part)
    SERVED.add(str(link))
    return link
