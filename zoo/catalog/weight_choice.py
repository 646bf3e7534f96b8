"""Which of a checkpoint's tensors are meant: a training keeps averaged weights, its model's, a loss's and an optimizer's side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from zoo.catalog.nameless import lists_of_averages, with_names
from zoo.catalog.pickles import Inert
from zoo.errors import CheckpointError

HOLDERS = ("ema", "nnet_ema", "model_ema", "state_dict", "model", "nnet", "module", "net")
"""Where weights usually are, for an error."""
AVERAGED = {"ema", "avg", "averaged", "average", "smoothed", "swa", "polyak", "teacher", "momentum", "shadow", "target"}
AVERAGED |= {"modelema", "netema", "nnetema", "dictema", "paramsema", "weightsema"}
"""Words in the names of what holds weights averaged over the training; the teacher of DINO and the target of I-JEPA are, too."""
RAW = {"online", "student", "raw"}
"""Words in the names of what they are averages of; where both stand in a path, the inner one counts."""
BESIDE = re.compile(r"optim|^opt$|sched|scaler|loss|criterion|disc|lpips|perceptual|rng|queue|center", re.IGNORECASE)
"""Names of what stands beside the weights of the model."""
COUNTERS = {"initted", "step", "n_averaged", "num_updates", "decay", "logvar", "global_step", "epoch", "scale_factor"}
"""Single numbers that averaging and training keep among the weights."""
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What DataParallel, torch.compile, FSDP and activation checkpointing put into a key, at any place."""
LEADING = re.compile(r"model|net|nnet|network|diffusion_model|first_stage_model|ema_model|ema|online_model|teacher|student|backbone|vae")
"""What trainers put before every key."""
DEEPEST = 4
"""Mappings inside mappings, and names before a key."""


@dataclass(frozen=True)
class Candidate:
    """Tensors by name that may be the weights meant; name: the path to them in the file, empty where they are the file's own."""

    name: str
    state: Mapping[str, Tensor]
    remark: str = ""
    """What was passed over that may be meant more."""
    trained_as: str = ""
    """DiT or SiT, whose keys are the same, where the settings beside the weights tell which."""

    @property
    def averaged(self) -> bool:
        """Whether they are averaged over the training, by their name."""
        return is_averaged(self.name)


@dataclass(frozen=True)
class Taken:
    """Which weights of a file a model has, and the names of others in it that fit as well; empty where the file holds no others."""

    name: str = ""
    others: tuple[str, ...] = ()
    remark: str = ""

    @property
    def words(self) -> str:
        """For a reader; empty where there is nothing to choose."""
        if not self.name:
            return self.remark
        averaged = ", averaged" if is_averaged(self.name) else ""
        others = f"{' and '.join(self.others)} would fit as well" if self.others else ""
        return "; ".join(filter(None, (f"{self.name}{averaged}", others, self.remark)))


def is_averaged(name: str) -> bool:
    """Whether a name, or a path of names, says that it holds averaged weights: ema, model_ema1, emaModel, model.teacher."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    said = [word not in RAW for word in words if word in AVERAGED | RAW or word.startswith("ema")]
    return bool(said) and said[-1]


def candidates(content: Any, label: str) -> list[Candidate]:
    """What a checkpoint holds that may be weights: averaged ones first, and the whole of a place before its parts.

    Raises CheckpointError where it holds none.
    """
    places = list(_places(content, ""))
    every = [Candidate(name, state) for place, tensors in places for name, state in _branches(place, tensors) if state]
    nameless, objects = list(lists_of_averages(content)), _objects(content)
    if not every:
        raise CheckpointError(f"{label} {_nothing(content, nameless, objects)}.")
    fitting, remarks = [], [f"{path} is a whole object of {name}, which is not opened" for path, name in objects if is_averaged(path)]
    for path, averages in nameless:
        named_ones = (with_names(averages, one.state) for one in every if not one.averaged and len(one.state) >= len(averages))
        if (state := next(filter(None, named_ones), None)) is not None:
            fitting.append(Candidate(path, state))
        else:
            remarks.append(f"{path} holds averages without names, which do not fit in order")
    every = [*fitting, *(one if one.averaged else replace(one, remark="; ".join(remarks)[:200]) for one in every)]
    every = [replace(one, trained_as=_trained_as(content)) for one in every]
    ranks = {word: rank for rank, word in enumerate(HOLDERS)}

    def order(one: Candidate) -> tuple[bool, int, int]:
        rank = ranks.get(one.name.split(".")[-1], 0 if not one.name else len(ranks))
        number = re.search(r"ema(\d)(\.|$)", one.name)  # JiT averages twice, and draws with model_ema1
        return not one.averaged, rank, int(number[1]) if number else 0

    return sorted(every, key=order)


def named(every: list[Candidate], name: str, label: str) -> list[Candidate]:
    """Those of a name that somebody chose. Raises CheckpointError that says which there are."""
    if chosen := [one for one in every if one.name == name] or [one for one in every if one.name.endswith(f".{name}")]:
        return chosen
    largest = max(len(one.state) for one in every)
    here = ", ".join(dict.fromkeys(one.name for one in every if one.name and 5 * len(one.state) > 4 * largest)) or "only one set of weights"
    raise CheckpointError(f"{label} holds no weights named {name[:60]!r}: there are {here[:400]}.")


def _objects(content: Any, path: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """Objects of classes that are none of torch's, by the path to them, and what they are."""
    if isinstance(content, Inert):
        return [(path, content.name)]
    if depth == 2 or not isinstance(content, Mapping):
        return []
    return [one for key, value in content.items() for one in _objects(value, f"{path}.{key}".lstrip("."), depth + 1)]


def _trained_as(content: Any) -> str:
    """DiT or SiT, where the settings of a training say which it was; REPA's are a SiT's."""
    for value in content.values() if isinstance(content, Mapping) else ():
        settings = value.state if isinstance(value, Inert) else value
        if not isinstance(settings, Mapping):
            continue
        if {"path_type", "prediction"} <= set(settings):
            return "SiT"
        if named_one := re.match(r"([DS]iT)-\w+/\d+", str(settings.get("model", ""))[:20]):
            return named_one[1]
    return ""


def _nothing(content: Any, nameless: list, objects: list[tuple[str, str]]) -> str:
    """Why a file gives no weights, and what to do."""
    if nameless:
        return f"holds averages without names ({nameless[0][0]}) and not the weights that name them: copy them into the model there, and \
save its state_dict()"
    if any(name.startswith("numpy.") for _, name in objects):
        return "holds arrays of NumPy instead of tensors: save torch.from_numpy(array) of each"
    models = [(path, name) for path, name in objects if not BESIDE.search(path) and re.search(r"\.[A-Z]\w*$", name)]
    if models and (whole := next((one for one in models if set(one[0].split(".")) & {*HOLDERS}), None)):
        return f"holds under {whole[0]} a whole object of {whole[1]}, not its weights: save its state_dict() instead"
    keys = ", ".join(str(key)[:40] for key in list(content)[:5] if isinstance(key, (str, int))) if isinstance(content, Mapping) else ""
    held = f"it holds {keys or 'nothing'}" if isinstance(content, Mapping) else f"it holds a {type(content).__name__}"
    return f"holds no weights where they usually are ({', '.join(HOLDERS)}): {held}"


def _places(content: Any, path: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping that holds tensors by name, with the path to it; not those of the optimizer or the loss."""
    if depth > DEEPEST:
        return
    if isinstance(content, (list, tuple)):
        several = [(number, item) for number, item in enumerate(content[:100]) if isinstance(item, Mapping)]
        for number, item in several:
            yield from _places(item, ".".join([*filter(None, [path]), *([str(number)] if len(several) > 1 else [])]), depth)
        return
    if not isinstance(content, Mapping):
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if any(value.ndim for value in tensors.values()):
        yield path, tensors
    for key, value in content.items():
        if isinstance(key, str) and not BESIDE.search(key):
            yield from _places(value, f"{path}.{key}".lstrip("."), depth + 1)


def _branches(path: str, tensors: Mapping[str, Tensor], depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """A state dict without what wrappers and trainings add to it, and then those inside it that stand behind a name of their own."""
    state = _own({WRAPPERS.sub("", key): value for key, value in tensors.items()})
    while len(heads := _heads(state)) == 1 and LEADING.fullmatch(heads[0]) and all("." in key for key in state):
        path = path or (heads[0] if is_averaged(heads[0]) else "")
        state = _own(_behind(state, heads[0]))
    flat = {head for head in heads if is_averaged(head) and _is_flat(state, head)}
    yield path, {key: value for key, value in state.items() if key.split(".")[0] not in flat}
    if depth == DEEPEST or len(heads) > 60:
        return
    for head in heads:
        name, inner = f"{path}.{head}".lstrip("."), _behind(state, head)
        if head in flat:
            yield from _branches(name, _unflattened(inner, state, head), depth + 1)
        elif len(inner) > 1 and not head.isdigit():
            yield from _branches(name, inner, depth + 1)


def _behind(state: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    return {key[len(head) + 1 :]: value for key, value in state.items() if key.startswith(f"{head}.")}


def _heads(state: Mapping[str, Tensor]) -> list[str]:
    return list(dict.fromkeys(key.split(".")[0] for key in state))


def _own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not _beside(key, value)}


def _beside(key: str, value: Tensor) -> bool:
    """Whether a key is none of the model's: of a loss beside it, or a counter."""
    head, _, rest = key.partition(".")
    return bool(rest and BESIDE.search(head)) or (value.ndim == 0 and key.rpartition(".")[2] in COUNTERS)


def _is_flat(state: Mapping[str, Tensor], head: str) -> bool:
    """Whether what stands behind a name has keys without dots, as LitEma of CompVis writes them (ldm/modules/ema.py)."""
    inner = _behind(state, head)
    return len(inner) > 1 and not any("." in key for key in inner)


def _unflattened(flat: Mapping[str, Tensor], state: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """LitEma's weights under the names of those they are averages of, which also give what is not averaged, such as buffers."""
    raw = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    bases = [raw, *(_behind(raw, other) for other in _heads(raw))]
    base = max(bases, key=lambda base: sum(key.replace(".", "") in flat for key in base))
    return {key: flat.get(key.replace(".", ""), value) for key, value in base.items()}
