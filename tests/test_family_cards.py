"""The cards of DiT's relatives hold what was seen of the published models, and a model of each family draws through the hub."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo import backbones
from zoo.__main__ import main
from zoo.catalog.card import Card, cards
from zoo.catalog.own_cards import own_cards
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result
from zoo.engine.verify import admit
from zoo.engine.walk import passes
from zoo.errors import RequestError
from zoo.inside.inspector import DIFFUSION, Looker
from zoo.networks.autoencoders import STATISTICS
from zoo.networks.build import build_module
from zoo.sampling import Schedule, told_times

MANIFESTS: dict[str, dict] = json.loads(gzip.decompress((Path(__file__).parent / "golden" / "flow" / "manifests.json.gz").read_bytes()))
CARDS = {name: cards()[name] for name in MANIFESTS}
GENERATORS = {name: card for name, card in CARDS.items() if card.generates}


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_published_model_has_a_card_that_builds_exactly_it(name: str) -> None:
    card, manifest = CARDS[name], MANIFESTS[name]
    assert card.arch == manifest["words"]
    assert card.family == manifest["family"]
    with torch.device("meta"):
        module = build_module(card)
    assert sum(value.numel() for value in module.parameters()) == card.cost.params
    assert card.weights[0].origin in ("huggingface", "manual")
    assert "never run" in card.prose


PROTOCOLS = {
    "sit-xl-2-256": ("euler-maruyama", 250, 1.5, 2.06), "sit-xl-2-512": ("euler-maruyama", 250, 1.5, 2.62),
    "repa-xl-2-256": ("euler-maruyama", 250, 1.8, 1.42), "lightningdit-xl-1-256-800ep": ("euler", 249, 6.7, 1.35),
    "lightningdit-xl-1-256-64ep": ("euler", 249, 10.0, 2.11), "mdt-xl-2-256-v1": ("ddpm", 250, 3.8, 1.79),
    "mdtv2-xl-2-256": ("ddpm", 250, 3.8, 1.58), "jit-h-16-256": ("heun", 99, 2.2, 1.86), "jit-h-32-512": ("heun", 99, 2.3, None),
    "jit-l-16-256": ("heun", 99, 2.4, None), "jit-l-32-512": ("heun", 99, 2.5, None), "jit-b-16-256": ("heun", 99, 3.0, None),
    "jit-b-32-512": ("heun", 99, 3.0, None), "ddt-xl-2-256": ("euler", 250, 2.0, 1.26), "ddt-xl-2-512": ("euler", 250, 3.0, 1.28),
    "u-dit-s-256": ("ddpm", 250, 1.5, None), "u-dit-b-256": ("ddpm", 250, 1.5, None), "u-dit-l-256": ("ddpm", 250, 1.5, None),
    **dict.fromkeys(("sit-s-2-256", "sit-b-2-256", "sit-l-2-256"), ("dopri5", 250, 1.0, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", GENERATORS)
def test_the_preset_paper_is_the_published_protocol_and_its_fid_is_called_reported(name: str) -> None:
    card, paper = GENERATORS[name], GENERATORS[name].preset("paper")
    assert (paper.solver, paper.steps, paper.guidance, next(iter(card.reported.values()), None)) == PROTOCOLS[name]
    assert all(figure.endswith("(reported)") for figure in card.reported)
    if card.latent:
        assert (paper.vae or card.latent.vae) == ("vavae-f16d32" if card.family == "lightning-dit" else "sd-vae-ft-ema")
        assert card.latent.scale == (1.0 if card.family == "lightning-dit" else 0.18215)
    else:
        assert card.family == "jit"


GUIDED = {"lightningdit-xl-1-256-800ep": 168, "lightningdit-xl-1-256-64ep": 181, "repa-xl-2-256": 172, "jit-h-16-256": 88}
"""Evaluations of the published protocol with guidance, counted in the authors' runs."""


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_is_on_at_as_many_evaluations_as_with_the_authors(name: str) -> None:
    card = CARDS[name]
    paper = card.preset("paper")
    request = Request(name, labels=1, solver=paper.solver, steps=paper.steps, guidance=paper.guidance, interval=paper.interval).resolved(
        card
    )
    times = told_times(Schedule.from_card(card.schedule), paper.solver, paper.steps)
    assert len(times) == paper.steps
    assert sum(count == 2 for count in passes(card, request, times)) == GUIDED[name]


def test_sources_sizes_digests_and_licences_are_those_that_were_seen() -> None:
    small, large = CARDS["sit-s-2-256"].weights[0], CARDS["sit-xl-2-256"].weights[0]
    assert (small.repo, small.file, small.bytes) == ("nyu-visionx/SiT-collections", "SiT-S-2-256.pt", 131_893_962)
    assert (small.sha256[:8], large.sha256[:8], large.bytes) == ("a245dc63", "e645b5cd", 0)
    known = {name for name, card in CARDS.items() if any(source.sha256 or source.bytes for source in card.weights)}
    assert known == {"sit-s-2-256", "sit-xl-2-256"}
    licences = {card.family: card.licence for card in CARDS.values()}
    assert licences == {
        "sit": "mit", "repa": "mit", "lightning-dit": "mit", "jit": "mit", "mdt": "unknown", "ddt": "unknown", "u-dit": "cc-by-nc-4.0",
        "autoencoder-kl": "unknown",
    }  # fmt: skip
    assert CARDS["vavae-f16d32"].weights[0].also == (STATISTICS,)
    assert "dead since July 2026" in CARDS["jit-b-16-256"].prose


@pytest.mark.parametrize("kind", ["settings", "name", "like", "nothing"])
def test_a_sit_is_imported_as_one_where_anything_says_so(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path / "cache"))
    arch = {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 10}
    args = {"args": {"path_type": "Linear", "prediction": "velocity"}} if kind == "settings" else {}
    path = tmp_path / ("my SiT.pt" if kind == "name" else "mine.pt")
    torch.save({"ema": backbones.build("sit", arch).state_dict()} | args, path)
    assert main(["import", str(path), "--heads", "2", "--name", "mine", *(["--like", "sit-s-2-256"] if kind == "like" else [])]) == 0
    card = own_cards(tmp_path / "cache" / "cards")["mine"]
    assert (card.family, card.schedule["kind"]) == (("dit", "linear") if kind == "nothing" else ("sit", "flow"))
    assert ("a SiT has the same keys as a DiT" in card.prose) == (kind == "nothing")


# ---- through the hub, small, with random weights


SMALL = {
    "sit": {"learn_sigma": True}, "repa": {}, "lightning-dit": {}, "mdt": {"decode_layer": 1}, "ddt": {"encoder_depth": 2},
    "jit": {"bottleneck_dim": 6, "in_context_len": 3, "in_context_start": 1},
}  # fmt: skip


def words(family: str) -> dict:
    """The card of a small model of pixels, sampled as the published one of its family is."""
    published = next(card for card in GENERATORS.values() if card.family == family)
    sizes = {"input_size": 16, "in_channels": 3, "hidden_size": 32, "num_heads": 2, "num_classes": 4}
    sizes |= {"depth": [1, 1, 1, 1, 1]} if family == "u-dit" else {"depth": 3, "patch_size": 2}
    guidance = {key: value for key, value in vars(published.guidance).items() if value is not None}
    return {
        "title": family, "family": family, "task": "class-to-image", "arch": sizes | SMALL.get(family, {}),
        "schedule": dict(published.schedule),
        "guidance": guidance | {"interval": list(guidance["interval"])} if "interval" in guidance else guidance,
        "sampling": {"solver": published.sampling.solver, "steps": 6} | (
            {"last_step_size": 0.04} if family == "ddt" else {}
        ),
        "labels": ["a", "b", "c", "d"], "weights": [{"from": "manual", "url": "https://example.org/page", "file": "model.pt"}],
    } | ({"prediction": published.prediction} if published.prediction else {})  # fmt: skip


def carried(hub: Hub, name: str, folder: Path) -> Card:
    """A card whose weights are random and have arrived."""
    torch.manual_seed(1)
    state = build_module(hub.card(name)).state_dict()
    for key, value in state.items():
        if value.is_floating_point() and "freqs" not in key:
            value.copy_(torch.randn(value.shape) / max(9, value[0].numel()) ** 0.5)
    torch.save({"ema": state}, folder / f"{name}.pt")
    admit(hub.store, hub.card(name), [folder / f"{name}.pt"])
    return hub.card(name)


def drawn(hub: Hub, request: Request) -> Result:
    *_, result = hub.generate(request)
    return result


@pytest.mark.parametrize("family", sorted({card.family for card in GENERATORS.values()}))
def test_a_model_of_every_family_draws_alone_as_in_company_and_with_the_papers_solver(family: str, hub_with, says, tmp_path: Path) -> None:
    hub = hub_with({"small": words(family)})
    carried(hub, "small", tmp_path)
    together = drawn(hub, Request("small", labels=(1, 2), seeds=(3, 4)))
    assert together.images.shape == (2, 16, 16, 3)
    assert together.images.std() > 5
    alone = drawn(hub, Request("small", labels=2, seeds=4))
    assert np.array_equal(alone.images[0], together.images[1])
    other = drawn(hub, Request("small", labels=2, seeds=4, guidance=30.0))
    assert not np.array_equal(other.images, alone.images)
    looker = Looker(hub)
    if family not in DIFFUSION:
        with says(RequestError, "no attention that can be recorded here"):
            looker.run(Request("small", labels=1, seeds=3))
        return
    run = looker.run(Request("small", labels=1, seeds=3))
    recording = looker.step(run, 3)
    assert recording.tokens.features.shape == (64, 32)
    assert sorted(recording.maps) == list(range(len(looker.layers(run))))
    assert (recording.maps[0].sum(-1) - 1).abs().max() < 1e-5
    assert looker.modulations(run).shape == (len(run.trace.times), len(recording.layers), 6)


def test_the_latents_of_va_vae_are_decoded_by_its_statistics(hub_with, says, tmp_path: Path) -> None:
    arch = {
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        "block_out_channels": [8, 8], "layers_per_block": 1, "latent_channels": 32, "norm_num_groups": 4, "sample_size": 16,
    }  # fmt: skip
    source = [{"from": "huggingface", "repo": "a/b", "file": "vae.pt", "also": [STATISTICS]}]
    vae = {"title": "wide", "family": "autoencoder-kl", "task": "autoencoder", "arch": arch, "weights": source}
    small = words("lightning-dit") | {"latent": {"vae": "wide", "scale": 1.0}}
    small["arch"] = small["arch"] | {"in_channels": 32, "input_size": 8, "patch_size": 1}
    hub = hub_with({"small": small, "wide": vae})
    carried(hub, "small", tmp_path)
    torch.save({"state_dict": build_module(hub.card("wide")).state_dict()}, tmp_path / "vae.pt")
    pictures = []
    for mean in (0.0, 2.0):
        torch.save({"mean": torch.full((1, 32, 1, 1), mean), "std": torch.ones(1, 32, 1, 1)}, tmp_path / STATISTICS)
        admit(hub.store, hub.card("wide"), [tmp_path / "vae.pt", tmp_path / STATISTICS])
        pictures.append(drawn(Hub(device="cpu", cache_dir=hub.cache_dir), Request("small", labels=1, seeds=3)).images)
    assert pictures[0].shape == (1, 16, 16, 3)
    assert not np.array_equal(*pictures)
    torch.save([1], tmp_path / STATISTICS)
    with says(Exception, STATISTICS, "32 channels"):
        admit(hub.store, hub.card("wide"), [tmp_path / "vae.pt", tmp_path / STATISTICS])
