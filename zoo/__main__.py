"""The command line, on the same Hub as the page: results on stdout, progress on stderr, one line and exit 1 on a ZooError."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import __version__
from zoo.catalog.card import TASKS, Card, cards
from zoo.catalog.card_facts import facts_of
from zoo.catalog.environment import cache_folder, user_path
from zoo.catalog.mounts import store_in
from zoo.engine import passwords
from zoo.engine.request import FLOW_SOLVERS, SOLVERS, Progress, Request, Result, find_labels, parse_seeds
from zoo.errors import RequestError, ZooError

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


def list_models(arguments: argparse.Namespace) -> None:
    """Print every card, one a line, or as JSON."""
    from zoo.engine.disk import state_of
    from zoo.engine.hub import Hub

    rows = (hub := Hub()).describe()
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        card = hub.card(row["id"])
        state = state_of(hub.store.find(card))
        print(f"{card.id:<23} {card.title:<24} {TASKS[card.task]:<36} {card.size:>14}  {card.licence:<33} {state}")


def show(arguments: argparse.Namespace) -> None:
    """Print one card: its data and its prose."""
    card = _card(arguments.id)
    files = (store := store_in(cache_folder(), lambda: [card, *cards().values()])).find(card)
    facts = facts_of(card) | {"here": list(map(str, files.digests)) if files else store.mounts.remarks(card)}
    if arguments.json:
        print(json.dumps({"id": card.id} | facts, indent=1))
        return
    words = facts | {
        "task": TASKS[card.task], "measured": card.measured_words, "parameters": f"{card.cost.params:,}", "bytes": f"{card.bytes:,}",
        "reported": ", ".join(f"{name.removesuffix(' (reported)')} {value:g}" for name, value in card.reported.items()),
        "labels": f"{facts['labels'][:120]} ... ({len(card.label_names)} classes)" if len(facts["labels"]) > 2000 else facts["labels"],
    }  # fmt: skip
    print(card.id)
    for key, value in words.items():
        if value and value != "0":
            print(f"  {key:<13} {_line(value)}")
    print(f"\n{card.prose}")


def _line(value: Any) -> str:
    """A value of a card in one line."""
    if isinstance(value, dict):
        value = ", ".join(f"{key}: {f'({_line(one)})' if isinstance(one, dict) else one}" for key, one in value.items() if one is not None)
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def sample(arguments: argparse.Namespace) -> None:
    """Make pictures, put them with their receipts into the folder asked for, and print the paths or the receipts."""
    from zoo.engine.hub import Hub
    from zoo.engine.results import check_folder

    card = _card(arguments.id)
    labels = find_labels(card, arguments.label) if arguments.label is not None else ()
    if not labels and card.label_names and card.generates:
        count, name = len(card.label_names), shlex.quote(card.label_names[0])
        raise RequestError(f"{card.id} needs one of its {count} classes: choose one with --label, e.g. --label {name}.")
    settings = {word: getattr(arguments, word) for word in ("steps", "solver", "guidance", "vae", "interval")}
    if arguments.preset is not None:
        settings = asdict(card.preset(arguments.preset)) | {word: value for word, value in settings.items() if value is not None}
    words = {word: getattr(arguments, word) for word in ("eta", "prompt", "negative_prompt", "frames", "fps")}
    request = Request(card.id, labels, parse_seeds(arguments.seed), **settings, **words)
    check_folder(arguments.out)
    hub = Hub(device=arguments.device, dtype=arguments.dtype)
    for item in hub.generate(request, preview=False):
        if isinstance(item, Progress) and item.total:
            print(f"\rstep {item.step} of {item.total}, {item.seconds_left:.1f} s left ", end="", file=sys.stderr, flush=True)
        if isinstance(item, Result):
            print(f"\r{len(item.files)} in {item.seconds:.1f} s                ", file=sys.stderr)
            if words := item.request.rounded(request.steps):
                print(f"{words}.", file=sys.stderr)
            files = hub.results.copy(item.files, Path(arguments.out))
            print(json.dumps(item.receipts, indent=1) if arguments.json else "\n".join(map(str, files)))


def verify(arguments: argparse.Namespace) -> None:
    """Print what was checked of a model's files, a sentence each."""
    from zoo.engine.hub import Hub
    from zoo.engine.verify import verify as checks

    card = _card(arguments.id)
    sentences = []
    for sentence in checks(Hub().store, card, arguments.input):
        sentences.append(sentence)
        if not arguments.json:
            print(sentence, flush=True)
    if arguments.json:
        print(json.dumps({"id": card.id, "holds": sentences}, indent=1))


def fetch(arguments: argparse.Namespace) -> None:
    """Download a model and what it needs, and print where the files lie."""
    from zoo.engine.hub import Hub

    card, hub = _card(arguments.id), Hub()
    if not hub.local(card):
        for part in hub.parts(card):
            print(f"{part.title}: {part.size}, licence {part.licence}", file=sys.stderr)
    notes: tuple[str, ...] = ()
    for item in hub.fetch(card.id, arguments.hub or ""):
        for note in item.notes[len(notes) :]:
            print(f"\r{note}{' ' * 20}", file=sys.stderr)
        notes = item.notes
        left = f", {item.speed / 1e6:.1f} MB/s, {item.seconds_left:.0f} s left" if item.speed else ""
        print(f"\r{item.model}: {item.done / 1e6:.1f} of {item.total / 1e6:.1f} MB{left}    ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = [
        {"id": part.id, "path": str(files.path), "sha256": files.sha256, "origin": files.origin} for part, files in hub.local_files(card)
    ]
    print(json.dumps(rows, indent=1) if arguments.json else "\n".join(row["path"] for row in rows))


def cache(arguments: argparse.Namespace) -> None:
    """Print which downloads and results are on this machine and how large they are; remove a model's files, or what no model needs."""
    from zoo.engine.disk import on_disk
    from zoo.engine.hub import Hub

    hub = Hub()
    if arguments.remove is not None or arguments.prune:
        freed_bytes = hub.remove(arguments.remove) if arguments.remove is not None else hub.store.prune()
        print(json.dumps({"freed": freed_bytes}) if arguments.json else f"{freed_bytes / 1e6:.1f} MB freed")
        return
    if arguments.json:
        print(json.dumps(on_disk(hub), indent=1))
        return
    results = (facts := on_disk(hub))["results"]
    for row in facts["models"]:
        print(f"{row['id']:<23} {row['bytes'] / 1e6:>9.1f} MB  {row['origin']}")
    print(*facts["remarks"], sep="\n", end="\n" if facts["remarks"] else "")
    print(f"in {hub.store.folder}, with {facts['unfinished'] / 1e6:.1f} MB of unfinished downloads (--prune deletes them)")
    days = f" and {results['limit_days']:g} days" if results["limit_days"] else ""
    print(
        f"results: {results['files']} files, {results['bytes'] / 1e6:.1f} MB, the oldest {results['oldest_days']:.1f} days old; "
        f"at most {results['limit_bytes'] / 1e9:.1f} GB{days}, the oldest leave first; in {results['folder']}"
    )
    print(f"prompts: {results['prompts_bytes'] / 1e6:.1f} MB in {hub.contexts.folder}")


def take(arguments: argparse.Namespace) -> None:
    """Import files as the weights of a model, or one file as a model of its own; print where they lie, and which weights were taken."""
    from zoo.engine.hub import Hub
    from zoo.engine.verify import admit

    hub, (first, *files) = Hub(), arguments.file
    total = sum(path.stat().st_size for path in map(user_path, arguments.file) if path.is_file())

    def progress(done: int) -> None:
        print(f"\r{done / 1e6:.0f}{f' of {total / 1e6:.0f}' if total >= done else ''} MB ", end="", file=sys.stderr, flush=True)

    if files:
        card = hub.card(first)
        admit(hub.store, card, list(map(user_path, files)), progress, arguments.weights)
    else:
        card = _adopted(hub, user_path(first), arguments, progress)
    local = hub.store.find(card)
    print(file=sys.stderr)
    if local.taken:
        print(f"weights: {local.taken}{', with --weights NAME' if 'as well' in local.taken else ''}", file=sys.stderr)
    facts = {"id": card.id, "path": str(local.path), "sha256": local.sha256, "weights": local.taken}
    print(json.dumps(facts) if arguments.json else local.path)


def _adopted(hub: Hub, file: Path, arguments: argparse.Namespace, progress: Callable[[int], None]) -> Card:
    """A model made of one file without an id, and in words what is known of it."""
    from zoo.catalog.labels import read_names
    from zoo.catalog.own_cards import Answers
    from zoo.engine.own_models import adopt

    if str(file) in hub.cards and not file.exists():
        raise RequestError(f"{file} is a model: name the file with its weights after it.")
    words = {word: getattr(arguments, word) for word in ("name", "like", "schedule", "vae", "scale", "input_size", "num_heads")}
    card = adopt(hub, file, Answers(**words, labels=tuple(read_names(arguments.labels))), arguments.weights, progress)
    facts = {"architecture": dict(card.arch), "schedule": dict(card.schedule), "latents": asdict(card.latent) if card.latent else {}}
    words = "".join(f"; {name}: {_line(value)}" for name, value in facts.items() if value)
    print(f"\n{card.id}: {card.family}{words}; its card is {hub.own_folder / card.id}.md", file=sys.stderr)
    return card


def look(arguments: argparse.Namespace) -> None:
    """Write how a model sees a picture, or generated one: figures, arrays and shapes into a folder; print the paths."""
    from zoo.engine.hub import Hub
    from zoo.engine.results import check_folder, write_files
    from zoo.inside import attention_figures
    from zoo.inside.inspector import Looker

    check_folder(folder := arguments.out or Path(f"{arguments.image.stem}-inside-{arguments.model}"))
    looker = Looker(Hub(device=arguments.device))
    recording = looker.file(arguments.model, arguments.image, arguments.layer, arguments.step)
    if recording.remark:
        print(recording.remark, file=sys.stderr)
    relevance = looker.relevance(arguments.model, arguments.image, recording.label(None)) if arguments.combine == "relevance" else None
    layer = max(recording.maps) if arguments.layer is None else arguments.layer
    combination, heads = (arguments.combine, ()) if arguments.head is None else ("mean of chosen heads", arguments.head)
    files = attention_figures.everything(recording, layer, recording.query(arguments.patch), combination, heads, relevance)
    paths = write_files(files, folder, arguments.image)
    print(json.dumps(attention_figures.facts(recording), indent=1) if arguments.json else "\n".join(map(str, paths)))


def compare(arguments: argparse.Namespace) -> None:
    """Run what a YAML file says side by side or as a grid, and write the report and the samples into a folder; print the paths."""
    from zoo.compare import report, study
    from zoo.compare.grid import Grid
    from zoo.engine.hub import Hub

    def say(words: str, item: Progress) -> None:
        stage = f"step {item.step} of {item.total}" if item.total else item.stage
        print(f"\r{words[:90]}: {stage}   ", end="", file=sys.stderr, flush=True)

    plan = study.plan(hub := Hub(device=arguments.device), study.read(arguments.file))
    for path in study.carry_out(hub, plan, Path(arguments.out or arguments.file.stem), say):
        if not arguments.json:
            print(path)
    print(file=sys.stderr)
    if arguments.json:
        print(json.dumps(plan.manifest() if isinstance(plan, Grid) else report.entries(plan), indent=1))


def bench(arguments: argparse.Namespace) -> None:
    """Measure how fast this machine is with a model, print the report, and write it as JSON where that is asked for."""
    from zoo.engine import bench as benches
    from zoo.engine.results import check_file, write_files

    if arguments.json:
        check_file(arguments.json)
    words = ("model", "peers", "visitors", "threads", "dtype", "device", "steps", "rounds")
    settings = benches.Settings(**{word: getattr(arguments, word) for word in words})

    def tell(stage: str) -> None:
        print(f"\r{stage[:90]:<92}", end="", file=sys.stderr, flush=True)

    report = benches.run(settings, tell)
    print(file=sys.stderr)
    print(benches.text(report))
    if arguments.json:
        write_files({arguments.json.name: json.dumps(report, indent=1).encode()}, arguments.json.parent)


def password(arguments: argparse.Namespace) -> None:
    """Print the line of a user for --auth-file of app.py, or put it into that file."""
    line = passwords.ask(arguments.name)
    if arguments.auth_file:
        passwords.put(arguments.auth_file, line)
    print(arguments.auth_file or line)


def _card(identity: str) -> Card:
    from zoo.engine.hub import Hub

    return cards()[identity] if identity in cards() else Hub().card(identity)


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="python -m zoo", description="Patchwork: a hub of diffusion transformers.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="every model: its task, size and licence, and whether it is downloaded")
    listing.set_defaults(run=list_models)
    showing = commands.add_parser("show", help="one model's card")
    showing.set_defaults(run=show)
    sampling = commands.add_parser(
        "sample", help="generate pictures or videos", epilog="example: python -m zoo sample tiny-dit --label star --seed 0-3 --out stars"
    )
    sampling.add_argument("--label", help="class name or number; one, or one for each image separated by commas")
    sampling.add_argument("--seed", default="random", help="7, 0-3, 0-3,10 or random (default)")
    sampling.add_argument("--steps", type=int, help="default: the card's")
    sampling.add_argument("--solver", help=f"{', '.join(SOLVERS)}; of flow models {', '.join(FLOW_SOLVERS)}; default: the card's")
    sampling.add_argument("--preset", metavar="NAME", help="settings by name, such as paper: the published protocol")
    sampling.add_argument("--prompt", default="", help="the text condition of a text-to-image or text-to-video model")
    sampling.add_argument("--negative-prompt", default="", metavar="TEXT", help="what guidance leads away from")
    sampling.add_argument("--vae", metavar="ID", help="another autoencoder for the same latents")
    sampling.add_argument("--frames", type=int, help="frames of a video; default: as many as its model was trained on")
    sampling.add_argument("--fps", type=int, default=8, help="frames per second of a video")
    sampling.add_argument("--guidance", type=float, help="w of eps = uncond + w (cond - uncond), 1 is off; default: the card's")
    sampling.add_argument("--interval", nargs=2, type=float, metavar=("LOW", "HIGH"), help="noise shares between which guidance is on")
    sampling.add_argument("--eta", type=float, default=0.0, help="DDIM eta: 0 is deterministic, 1 like DDPM")
    sampling.add_argument("--out", type=user_path, default=".", metavar="DIR", help="folder for the results")
    sampling.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    sampling.set_defaults(run=sample)
    example = "example: python -m zoo look cat.jpg --model tiny-vit --out inside"
    looking = commands.add_parser("look", help="look inside: tokens, attention, figures", epilog=example)
    looking.add_argument("image", metavar="IMAGE", type=user_path, help="any picture or clip; for a generator, one that it made here")
    looking.add_argument("--model", required=True, metavar="ID")
    looking.add_argument("--layer", type=int, help="counted from 0; default: the last")
    looking.add_argument("--head", type=int, nargs="+", help="one head, counted from 0, or the mean of several; default: --combine")
    looking.add_argument(
        "--combine", "--way", metavar="HEADS", default="mean of all heads",
        help="mean of all heads, max of all heads, rollout, or relevance of the likeliest class; default: %(default)s",
    )  # fmt: skip
    looking.add_argument("--patch", help="the query: a patch by its number, row by row from 0, or a token such as class")
    looking.add_argument("--step", type=int, help="of a generation, 1 is pure noise; default: the last")
    looking.add_argument("--out", type=user_path, metavar="DIR", help="where the files go; default: a folder named after IMAGE and ID")
    looking.set_defaults(run=look)
    comparing = commands.add_parser(
        "compare", help="compare settings side by side, or as a grid", epilog="example: python -m zoo compare study.yaml --out study"
    )
    comparing.add_argument("file", metavar="FILE", type=user_path, help="YAML file: what all share, and columns, or across and down")
    comparing.add_argument("--out", type=user_path, metavar="DIR", help="folder for the report and the samples; default: named after FILE")
    comparing.set_defaults(run=compare)
    fetching = commands.add_parser("fetch", help="download a model and what it needs; an interrupted download goes on where it stopped")
    fetching.add_argument("--from", dest="hub", choices=["huggingface", "modelscope", "url"], help="default: ZOO_HUB or the card's")
    fetching.set_defaults(run=fetch)
    caching = commands.add_parser("cache", help="which downloads are on this machine; --remove ID, --prune")
    caching.add_argument("--remove", metavar="ID", help="delete a model's files")
    caching.add_argument("--prune", action="store_true", help="delete unfinished downloads and files that no model needs")
    caching.set_defaults(run=cache)
    verifying = commands.add_parser("verify", help="check a model's files: digest, keys and shapes, numbers here and published ones")
    verifying.add_argument(
        "--input", metavar="FILE", type=user_path, nargs="+", default=[],
        help="a picture or .npy file of which published numbers were recorded, as verify names it; it is not ours to ship",
    )  # fmt: skip
    verifying.set_defaults(run=verify)
    example = "examples: python -m zoo import my-dit.pt --heads 6 --labels names.txt; python -m zoo import dit-xl-2-256 DiT-XL-2-256x256.pt"
    importing = commands.add_parser("import", help="import files as the weights of a model, or a checkpoint of your own", epilog=example)
    importing.add_argument(
        "file", metavar="[ID] FILE", nargs="+",
        help="the weights, after the id of their model where it has a card, then what else it needs, such as vocab.json",
    )  # fmt: skip
    importing.add_argument("--weights", default="", metavar="NAME", help="which of several sets in FILE; default: the averaged ones")
    importing.add_argument("--name", default="", help="of a model without a card; default: the file's")
    importing.add_argument("--labels", type=user_path, metavar="FILE", help="its class names, one a line")
    importing.add_argument("--like", default="", metavar="ID", help="the model that tells what weights do not; default: the most alike")
    importing.add_argument("--heads", dest="num_heads", type=int, metavar="N", help="its attention heads; default: by its width")
    importing.add_argument("--input-size", type=int, metavar="N", help="pixels or latents to a side, where weights do not tell")
    importing.add_argument("--schedule", default="", metavar="KIND", help="linear, scaled-linear, vp-sde, flow, or e.g. vp-sde,0.1,20")
    importing.add_argument("--vae", default="", metavar="ID", help="the autoencoder of its latents")
    importing.add_argument("--scale", type=float, help="the factor from the autoencoder's latents to its own")
    importing.set_defaults(run=take)
    example = "example: python -m zoo bench --peers --visitors 8"
    benching = commands.add_parser("bench", help="how fast a model runs here, and other code on the same weights", epilog=example)
    benching.add_argument("--model", default="", metavar="ID", help="default: the first that makes pictures, tiny-dit")
    benching.add_argument("--peers", action="store_true", help="also time diffusers, and the authors' computation as tests/ restates it")
    benching.add_argument("--visitors", type=int, default=0, metavar="N", help="also let N visitors ask at once")
    benching.add_argument("--threads", type=int, default=1, metavar="N", help="threads of PyTorch's; default: 1, the steadiest to measure")
    benching.add_argument("--steps", type=int, metavar="N", help="of the loop; default: 50, for large models 4")
    benching.add_argument("--rounds", type=int, metavar="N", help="of which medians are taken; default: 5, for large models 3")
    benching.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    benching.add_argument("--json", type=user_path, metavar="FILE", help="also write everything measured as JSON")
    benching.set_defaults(run=bench)
    naming = commands.add_parser("password", help="make the line of a user who may log in; the password is asked for, or read from a pipe")
    naming.add_argument("name", metavar="NAME")
    naming.add_argument("--auth-file", type=user_path, metavar="FILE", help="add the line to this file, in place of an earlier one")
    naming.set_defaults(run=password)
    for command in (showing, sampling, fetching, verifying):
        command.add_argument("id", metavar="ID")
    for command in (sampling, looking, comparing, benching):
        command.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    for command in (listing, showing, sampling, looking, comparing, fetching, caching, verifying, importing):
        command.add_argument("--json", action="store_true", help="print JSON")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
        print(end="", flush=True)
    except ZooError as error:
        print(f"zoo: {error}{f' At a terminal: {error.command}' if error.command else ''}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more when it ends
        if not isinstance(error, BrokenPipeError):  # where whoever read the results, such as head, has read enough
            print(f"zoo: what was found cannot be printed ({error.strerror}): send it elsewhere.", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    if sys.stdout and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal writes every name
    sys.exit(main())
