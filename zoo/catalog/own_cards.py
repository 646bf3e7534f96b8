"""Cards of a user's own models: written from what weights tell and what he says, kept in his folder, read beside those that ship."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.catalog.architectures import Architecture
from zoo.catalog.card import GENERATORS, Card, cards, parse
from zoo.catalog.files import atomic_write
from zoo.catalog.sampling_words import FLOW, SCHEDULES, Guidance
from zoo.errors import CardError, RequestError

NUMBERS = {"linear": (0.0001, 0.02, 1000), "scaled-linear": (0.00085, 0.012, 1000), "vp-sde": (0.1, 20), "flow": ("data",)}
"""The usual numbers of every schedule: DiT and Latte; U-ViT on latents; U-ViT on pixels; SiT."""
LARGEST = 10_000
"""Pixels or latents to a side, and the factor of latents."""
TITLE = 80
"""Characters of a title, which stands in lists and on buttons."""


@dataclass(frozen=True)
class Answers:
    """What a user says of his model: where he says nothing, the nearest card of its family does."""

    name: str = ""
    labels: tuple[str, ...] = ()
    """Class names by index."""
    like: str = ""
    """Id of the card that tells what weights do not."""
    num_heads: int | None = None
    input_size: int | None = None
    schedule: str = ""
    """linear | scaled-linear | vp-sde | flow, and where they are not the usual ones its numbers, between commas; of a flow data or noise,
    shift and noise scale."""
    vae: str = ""
    scale: float | None = None


def nearest(found: Architecture, cards: Mapping[str, Card], like: str = "") -> Card:
    """The card that tells what the weights of a network do not: the one that was named, else the one most like it of its family.

    Raises RequestError where there is no such card, or nothing here has as many channels.
    """
    channels, decoded = found.words["in_channels"], {card.arch.get("latent_channels") for card in cards.values()}
    if channels != 3 and (found.task not in GENERATORS or channels not in decoded):
        latents = " and no autoencoder here decodes them" if found.task in GENERATORS else ""
        raise RequestError(f"This {found.family} takes {channels} channels, but pictures have 3{latents}: it cannot be used here.")
    same = [card for card in cards.values() if card.family == found.family and (card.weights[0].origin != "own" or card.id == like)]
    if like:
        same = [card for card in same if card.id == like]
    if not same and not like:
        raise RequestError(
            f"No model here is of the family {found.family}, whose card would tell the rest: write a card for this file by hand."
        )
    if not same:
        raise RequestError(f"There is no model {like[:60]!r} of the family {found.family}: leave --like out, or name another.")

    def alike(card: Card) -> tuple:
        words = ("in_channels", "input_size", "hidden_size", "num_classes", "depth", "patch_size")
        equal = [card.arch.get(word) == found.words.get(word) for word in words]
        latents = found.words["in_channels"] != 3  # by their size one autoencoder is told from another
        return (card.task == found.task and equal[0], latents and equal[1], equal[2], sum(equal))

    return max(same, key=alike)


def questions(found: Architecture, base: Card, answers: Answers) -> dict[str, Any]:
    """What neither weights nor the nearest card tell, and nobody said yet: the flag of each, and the usual value."""
    asked: dict[str, Any] = {}
    if (
        "num_heads" in found.unknown
        and answers.num_heads is None
        and not answers.like
        and base.arch["hidden_size"] != found.words["hidden_size"]
    ):
        asked["--heads"] = _usual_heads(found, base)
    if "input_size" in found.unknown and answers.input_size is None and not answers.like:
        asked["--input-size"] = base.arch["input_size"]
    channels = found.words["in_channels"]
    if found.task in GENERATORS and channels != 3 and not answers.vae and not (base.latent and base.arch["in_channels"] == channels):
        asked["--vae and --scale"] = f"an autoencoder of {channels} channels"
    return asked


def decoders(found: Architecture, cards: Mapping[str, Card]) -> list[str]:
    """Ids of the autoencoders that decode what a network makes."""
    channels, video = found.words["in_channels"], found.family == "latte"
    fitting = [card for card in cards.values() if card.task == "autoencoder" and card.arch["latent_channels"] == channels]
    return [card.id for card in fitting if video or not card.family.endswith("temporal")]


def check_autoencoder(chosen: Card, found: Architecture, cards: Mapping[str, Card]) -> None:
    """Raise RequestError that names the autoencoders there are unless one decodes what a network makes."""
    if chosen.id not in (fitting := decoders(found, cards)):
        raise RequestError(
            f"{chosen.title} does not decode {'videos' if found.family == 'latte' else 'pictures'} from {found.words['in_channels']} "
            f"channels: {'choose ' + ' or '.join(fitting) if fitting else 'no model here does: name none'}."
        )


def _usual_heads(found: Architecture, base: Card) -> int:
    """As many as give heads of the width that the family has."""
    hidden, each = found.words["hidden_size"], base.arch["hidden_size"] // base.arch["num_heads"]
    fitting = [heads for heads in range(1, hidden + 1) if hidden % heads == 0 and hidden // heads % 2 == 0]
    return min(fitting or [1], key=lambda heads: abs(hidden / heads - each))


def compose(identity: str, file: str, found: Architecture, base: Card, answers: Answers, params: int, also: Sequence[str] = ()) -> str:
    """The card of a model as text; file: the name of its weights, or of their first shard, also: of what else lies beside.

    Raises RequestError for what does not fit: heads, a size, class names, a schedule, a scale.
    """
    arch = dict(found.words)
    if "num_heads" in found.unknown:
        arch["num_heads"] = base.arch["num_heads"] if answers.num_heads is None else answers.num_heads
        if arch["num_heads"] < 1 or arch["hidden_size"] % arch["num_heads"]:
            raise RequestError(f"{arch['num_heads']} heads do not divide a width of {arch['hidden_size']}: give another number.")
    if "input_size" in found.unknown:
        arch["input_size"] = base.arch["input_size"] if answers.input_size is None else answers.input_size
        patch = arch.get("patch_size", 1)
        if not 0 < arch["input_size"] <= LARGEST or arch["input_size"] % patch:
            raise RequestError(
                f"{arch['input_size']} to a side cannot be cut into patches of {patch}: give a multiple of {patch}, {LARGEST:,} at most."
            )
    elif answers.input_size not in (None, arch["input_size"]):
        raise RequestError(f"Its weights say that it takes {arch['input_size']} to a side, not {answers.input_size}: leave the size out.")
    if answers.scale is not None and not 0 < answers.scale < LARGEST:
        raise RequestError(f"The scale must be a number above 0, such as 0.18215, not {answers.scale:g}.")
    labels = _labels(arch, found, base, answers.labels)
    title = " ".join("".join(sign if sign.isprintable() else " " for sign in answers.name).split())[:TITLE].strip()
    zoo: dict[str, Any] = {"title": title or identity, "family": found.family, "task": found.task, "arch": arch}
    if found.task in GENERATORS:
        zoo["schedule"] = _schedule(answers.schedule) if answers.schedule else dict(base.schedule)
        if (zoo["schedule"]["kind"] == "flow") != (base.schedule["kind"] == "flow"):
            raise RequestError(
                f"{base.id} {_walks(base.schedule)} and this model {_walks(zoo['schedule'])}: name a card that does so, too."
            )
        zoo |= {"prediction": base.prediction} if base.prediction else {}
        guidable = found.task.startswith("text") or (arch["num_classes"] and arch.get("null_label", True))
        zoo["guidance"], zoo["sampling"] = asdict(base.guidance if guidable else Guidance()), asdict(base.sampling)
        if arch["in_channels"] != 3 or answers.vae:
            zoo["latent"] = {
                "vae": answers.vae or base.latent.vae,
                "scale": (base.latent.scale if base.latent else 1.0) if answers.scale is None else answers.scale,
            }
    else:
        zoo["pixels"] = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(base.pixels).items()}
    zoo |= {"labels": labels} if labels else {}
    zoo |= {"text": base.text} if base.text and found.task == "text-to-image" else {}
    zoo |= {"cost": {"params": params}, "weights": [_source(file, also)]}
    head = {"license": "unknown", "library_name": "pytorch", "zoo": zoo}
    said = [f"the architecture is read off the keys and shapes of `{zoo['weights'][0]['file']}`"]
    said += [f"what they do not tell is as on the card `{base.id}`, unless it was said at the import"]
    if "family" in found.unknown:
        said += ["a SiT has the same keys as a DiT, and nothing said which this is: should it draw only noise, import it like a SiT"]
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---\n\nImported on this machine: {'; '.join(said)}.\n"
    )


def _source(file: str, also: Sequence[str]) -> dict[str, Any]:
    return {"from": "own", "file": re.sub(r"[^\w.-]", "_", file).lstrip(".-") or "weights"} | ({"also": list(also)} if also else {})


def _labels(arch: dict[str, Any], found: Architecture, base: Card, names: Sequence[str]) -> list[str] | str:
    """Class names; numbers in words where nobody gave any. A list of as many names as the table has rows says that there is no null."""
    count, generates = arch["num_classes"], found.task in GENERATORS
    if not names:
        same = base.labels and base.arch.get("num_classes") == count
        return base.labels if same and isinstance(base.labels, str) else [f"class {number}" for number in range(count)]
    if not count:
        raise RequestError(f"This {found.family} has no classes that could have names: leave the class names out.")
    if generates and arch.get("null_label", True) and len(names) == count + 1:
        arch["num_classes"], arch["null_label"] = count + 1, False
    elif len(names) != count:
        rows = f" ({count + 1} if no row of its table means no class)" if generates and arch.get("null_label", True) else ""
        raise RequestError(f"These are {len(names)} class names for {count} classes: give {count}, one a line{rows}.")
    return list(names)


def _schedule(text: str) -> dict[str, Any]:
    kind, *numbers = (word.strip() for word in text.split(","))
    try:
        if kind == "flow":
            return _flow(numbers)
        if kind not in SCHEDULES:
            raise ValueError
        values = [float(number) for number in numbers] or NUMBERS[kind]
        schedule = {"kind": kind} | dict(zip(SCHEDULES[kind], values, strict=True))
        if kind == "vp-sde":
            bounds = 0 <= schedule["beta_min"] < schedule["beta_max"] <= 1000
        else:
            bounds = 0 < schedule["start"] < schedule["end"] < 1 and 2 <= schedule["steps"] <= 100_000 and schedule["steps"] % 1 == 0
            schedule["steps"] = int(schedule["steps"]) if bounds else 0
        if not bounds:
            raise ValueError
    except ValueError:
        usual = " or ".join(",".join(map(str, (name, *NUMBERS[name]))) for name in NUMBERS)
        raise RequestError(
            f"The schedule {text[:60]!r} is not understood: give {usual}, or such a one with other numbers that rise."
        ) from None
    return schedule


def _flow(words: Sequence[str]) -> dict[str, Any]:
    time, *numbers = words or NUMBERS["flow"]
    values = [float(number) for number in numbers]
    if time not in ("data", "noise") or len(values) > 2 or not all(0 < value <= 1000 for value in values):
        raise ValueError
    return {"kind": "flow", "time": time} | dict(zip(FLOW[1:], values, strict=False))


def _walks(schedule: Mapping[str, Any]) -> str:
    return "follows a flow" if schedule["kind"] == "flow" else "predicts noise"


def slug(name: str) -> str:
    """A name as an id: small letters without accents, digits and hyphens. Raises RequestError where none is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    identity = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:60].strip("-")
    if not identity:
        raise RequestError(f"The name {name[:60]!r} holds no letter from a to z and no digit, of which an id is made: give one that does.")
    return identity


def write(folder: Path, identity: str, text: str) -> None:
    """Keep a card in a user's folder. Raises CardError where the disk refuses."""
    try:
        with atomic_write(folder / f"{identity}.md") as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CardError(f"The card cannot be written to {folder} ({error.strerror}): set PATCHWORK_CACHE to another folder.") from None


def delete(folder: Path, identity: str) -> None:
    """Forget a card of a user's folder. Raises CardError where the disk refuses."""
    try:
        (folder / f"{identity}.md").unlink(missing_ok=True)
    except OSError as error:
        raise CardError(f"The card of {identity} cannot be deleted from {folder} ({error.strerror}): delete it there.") from None


def own_cards(folder: Path) -> dict[str, Card]:
    """The cards in a user's folder by id; what is wrong with one is logged, and keeps no other from being read."""
    found = {}
    for path in sorted(folder.glob("*.md")):
        try:
            card = parse(path.stem, path.read_text(encoding="utf-8"))
            if card.id in cards():
                raise CardError(f"there is a model {card.id} already")
            if missing := [part for part in (card.latent and card.latent.vae, card.text) if part and part not in cards()]:
                raise CardError(f"there is no model {missing[0]}, which it needs")
            found[card.id] = card
        except (OSError, UnicodeDecodeError, CardError) as error:
            logging.getLogger(__name__).warning("%s is left out: %s", path, error)
    return found


def with_own(folder: Path) -> dict[str, Card]:
    """Every card by id, those of a user's folder after the ones that ship with the repository and before those to download."""
    ranks = {"bundled": 0, "own": 1}
    every = [*cards().values(), *own_cards(folder).values()]
    return {card.id: card for card in sorted(every, key=lambda card: (not card.generates, ranks.get(card.weights[0].origin, 2)))}
