"""The stories: each sets every control of a tab, runs it, and says in two sentences what is seen; in their order they are a course."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.engine.request import short
from zoo.errors import RequestError, ZooError

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


@dataclass(frozen=True)
class Paper:
    """What a story is taken from: its authors and year, its title, and its number at arXiv."""

    authors: str
    title: str
    arxiv: str


@dataclass(frozen=True)
class Story:
    """One story: what it is called and says, what the controls show, and what is done with them."""

    id: str
    title: str
    text: str
    """Two sentences."""
    paper: Paper
    tab: str
    """Of an address: image, video, compare, grid or look."""
    models: tuple[str, ...]
    """Ids of the models that it shows; without one of them it is not told."""
    words: dict[str, str]
    """What an address of that tab says beside tab."""
    go: str = ""
    """The button that starts it, as a selector; empty where nothing has to run."""
    mark: tuple[str, str] = ("", "")
    """A control and what stands in it once all controls are set."""
    then: tuple[tuple[str, str], ...] = ()
    """What is done after the run, in this order: a button is pressed, or a number led through values with spaces between them."""
    jump: tuple[str, str] = ("", "")
    """What a button says that leads to a part further down, and the part, as a selector; it is unfolded after a run."""
    card: tuple[str, str] = ("", "")
    """The line under the title of its card, and the drawing on it; empty where it has no card."""


VIT = Paper("Dosovitskiy et al. 2020", "An Image is Worth 16x16 Words", "2010.11929")
ATTENTION = Paper("Vaswani et al. 2017", "Attention Is All You Need", "1706.03762")
SWIN = Paper("Liu et al. 2021", "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", "2103.14030")
VIVIT = Paper("Arnab et al. 2021", "ViViT: A Video Vision Transformer", "2103.15691")
DIT = Paper("Peebles and Xie 2022", "Scalable Diffusion Models with Transformers", "2212.09748")
FILM = Paper("Perez et al. 2017", "FiLM: Visual Reasoning with a General Conditioning Layer", "1709.07871")
UVIT = Paper("Bao et al. 2022", "All are Worth Words: A ViT Backbone for Diffusion Models", "2209.12152")
SIT = Paper(
    "Ma et al. 2024", "SiT: Exploring Flow and Diffusion-based Generative Models with Scalable Interpolant Transformers", "2401.08740"
)
DDPM = Paper("Ho et al. 2020", "Denoising Diffusion Probabilistic Models", "2006.11239")
GUIDANCE = Paper("Ho and Salimans 2022", "Classifier-Free Diffusion Guidance", "2207.12598")
SOLVER = Paper("Lu et al. 2022", "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models", "2211.01095")
LATTE = Paper("Ma et al. 2024", "Latte: Latent Diffusion Transformer for Video Generation", "2401.03048")

TWO = ("tiny-dit", "tiny-sit")
THREE = ("tiny-dit", "tiny-uvit", "tiny-unet")
COURSE = (
    Story(
        "patches", "A picture becomes tokens",
        "A vision transformer cuts a picture of 64 x 64 pixels into 64 patches of 8 x 8, and one learned matrix turns each of them into a "
        "token of 96 numbers. The steps under From picture to tokens show this with the numbers of this very model.",
        VIT, "look", ("tiny-vit",), {"model": "tiny-vit", "patch": "3,4", "layer": "0"}, jump=("Go to the steps", "#look-tokens-part"),
    ),
    Story(
        "attention", "What does it look at?",
        "In every layer each token asks all others how much they matter to it, and the answers are its attention map. Here the framed "
        "patch asks: click another one, or choose another layer.",
        ATTENTION, "look", ("tiny-vit",), {"model": "tiny-vit", "patch": "3,4", "layer": "2"},
        jump=("Go to all layers and heads", "#look-sheet-part"), card=("Attention of a patch", "attention"),
    ),
    Story(
        "windows", "Swin looks through windows",
        "Attention between all tokens costs the square of their number, so a Swin transformer lets a token see only the 4 x 4 patches of "
        "its window. In every second layer the windows are shifted by half, and between stages four patches are merged into one.",
        SWIN, "look", ("tiny-swin",), {"model": "tiny-swin", "patch": "13,17", "layer": "1"},
        jump=("Go to all layers and heads", "#look-sheet-part"),
    ),
    Story(
        "tubelets", "ViViT sees through time",
        "A video transformer cuts a clip into tubelets of 2 frames and 16 x 16 pixels, and each of them becomes a token. A token attends "
        "to all others, those of its own moment and those before and after it.",
        VIVIT, "look", ("tiny-vivit",), {"model": "tiny-vivit", "patch": "1,2", "layer": "1"},
        jump=("Go to the frames", "#look-strip"),
    ),
    Story(
        "rocket", "Watch noise become a rocket",
        "Sampling starts from pure noise, and at each of 25 steps the network predicts from the noisy sample x_t the clean picture x_0 "
        "that may lie beneath. The network is a DiT: a transformer whose tokens are patches of a latent picture.",
        DIT, "image", ("tiny-dit",),
        {"model": "tiny-dit", "label": "rocket", "count": "4", "seed": "7", "steps": "25", "solver": "dpm-solver++", "guidance": "3"},
        "#generate", ("#seed input", "7"), (("#play-steps", ""),), card=("A DiT, step by step", "noise"),
    ),
    Story(
        "conditioning", "How the class gets in",
        "A DiT has no token for the class: time and class scale and shift what passes through every block, which is called adaLN-Zero. "
        "The figures under Over the steps show where it looks and how strongly time and class act while a pizza forms.",
        FILM, "look", ("tiny-dit",), {"model": "tiny-dit", "label": "pizza", "seed": "11", "steps": "25"},
        "#look-go", ("#look-seed input", "11"), (("#look-through", ""),), ("Go to the steps", "#look-steps-part"),
    ),
    Story(
        "skips", "U-ViT carries details across",
        "A U-ViT takes time and class as tokens, and long skip connections carry what its early blocks found to the late ones. Here the "
        "outermost of them is cut: compare the picture with it and without it.",
        UVIT, "look", ("tiny-uvit",), {"model": "tiny-uvit", "label": "fox", "seed": "12", "steps": "25"},
        "#look-go", ("#look-seed input", "12"), (("#look-skip input[type=number]", "2"),),
        ("Go to the skip connections", "#look-skips-part"),
    ),
    Story(
        "paths", "Same noise, two paths",
        "A DiT and a SiT are one network, trained alike: the first removes noise along the curve of a diffusion, the second goes straight "
        "from noise to picture. The slider under the pictures shows both at the steps where their samples were equally noisy.",
        SIT, "compare", TWO,
        {"settings": json.dumps([{"model": TWO[0], "label": "owl", "seed": 17, "count": 4}, {"model": TWO[1]}])},
        "#compare-go", ("#compare-seed textarea, #compare-seed input", "17"), (("#compare-noise input[type=number]", "40 55 70 85 100"),),
        ("Go to the slider", "#compare-noise"),
    ),
    Story(
        "architectures", "Same noise, three architectures",
        "A DiT, a U-ViT and a U-Net, the network of the first diffusion models, draw the same class from the same noise. The slider under "
        "the pictures shows all three at the steps where their samples were equally noisy.",
        DDPM, "compare", THREE,
        {"settings": json.dumps([{"model": "tiny-dit", "label": "fox", "seed": 13, "count": 4}, *({"model": one} for one in THREE[1:])])},
        "#compare-go", ("#compare-seed textarea, #compare-seed input", "13"), (("#compare-noise input[type=number]", "40 55 70 85 100"),),
        ("Go to the slider", "#compare-noise"), ("DiT, U-ViT, U-Net", "three"),
    ),
    Story(
        "guidance", "Guidance from 1 to 6",
        "Classifier-free guidance w leads every step away from what the network would draw without a class: at w = 1 it is off. In each "
        "row only w grows: too little leaves the drawing vague, too much makes its colours glaring.",
        GUIDANCE, "grid", ("tiny-dit",),
        {"model": "tiny-dit", "seed": "14", "x": "guidance", "xs": "1-6:1", "y": "class", "ys": "fox; pizza; rocket"},
        "#grid-go", ("#grid-seed textarea, #grid-seed input", "14"), card=("A grid that fills itself", "guidance"),
    ),
    Story(
        "steps", "Few steps, many steps",
        "Each step is one evaluation of the network, so half the steps take half the time. A good solver needs few of them: compare the "
        "two rows where the columns say 2 and 4 steps.",
        SOLVER, "grid", ("tiny-dit",),
        {"model": "tiny-dit", "label": "fox", "seed": "15", "x": "steps", "xs": "2,4,8,16,32", "y": "solver", "ys": "dpm-solver++, ddim"},
        "#grid-go", ("#grid-seed textarea, #grid-seed input", "15"), card=("Two solvers in a grid", "steps"),
    ),
    Story(
        "clip", "A clip from noise",
        "Latte draws all 16 frames of a clip together: its blocks attend in turn within each frame and through time at each place. That is "
        "why the thing stays itself while it moves.",
        LATTE, "video", ("tiny-latte",),
        {"model": "tiny-latte", "label": "rocket flies up", "seed": "16", "steps": "25", "solver": "dpm-solver++", "guidance": "3"},
        "#video-generate", ("#video-seed input", "16"), card=("Latte, 16 frames", "clip"),
    ),
)  # fmt: skip
"""In the order in which the field tells it, from patches to video."""
CARDS = ("rocket", "architectures", "attention", "guidance", "clip", "steps")
"""What stands on top of the page, by id."""


def told(hub: Hub) -> list[Story]:
    """The stories of the course whose models this hub offers and has on its disk."""
    return [story for story in COURSE if all(_ready(hub, model) for model in story.models)]


def _ready(hub: Hub, model: str) -> bool:
    try:
        card = hub.card(model)
        return card in hub.offers and all(hub.store.find(part) for part in hub.parts(card))
    except ZooError:
        return False


def find(hub: Hub, identity: str) -> tuple[Story, int, list[Story]]:
    """A story by its id, its place in the course, and the course. Raises RequestError that names those there are."""
    course = told(hub)
    for place, story in enumerate(course):
        if story.id == identity:
            return story, place, course
    if not course:
        raise RequestError(f"There is no story {short(identity)}: this hub offers none of the models that the stories show.")
    raise RequestError(f"There is no story {short(identity)} on this hub: there are {', '.join(story.id for story in course)}.")
