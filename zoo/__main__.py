"""The command line, on the same Hub as the page: results on stdout, progress on stderr, one line and exit 1 on a ZooError."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from pathlib import Path

from zoo import __version__
from zoo.card import cards
from zoo.errors import RequestError, ZooError
from zoo.request import MAX_IMAGES, MAX_SEED, SOLVERS, Request, find_label


def seeds(text: str) -> tuple[int, ...]:
    """Seeds from a text such as 7, 0-3 or 0-3,10; "random" draws one. Raises RequestError for anything else."""
    if text == "random":
        return (random.randint(0, MAX_SEED),)
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(first + last) > 20 or int(last or first) < int(first):
            raise RequestError(f"Seeds {text[:40]!r} are not understood: write 7, 0-3, 0-3,10 or random.")
        low, high = int(first), int(last or first)
        if high - low >= MAX_IMAGES:
            raise RequestError(f"Seeds {text[:40]!r} are {high - low + 1} images: choose 1 to {MAX_IMAGES} at a time.")
        found.extend(range(low, high + 1))
    return tuple(found)


def list_models(arguments: argparse.Namespace) -> None:
    """Print every card, one a line, or as JSON."""
    from zoo.hub import Hub

    rows = Hub().describe()
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        here = "here" if row["local"] else "missing"
        print(f"{row['id']:<12} {row['title']:<14} {row['task']:<22} {row['bytes'] / 1e6:6.1f} MB  {row['licence']:<12} {here}")


def show(arguments: argparse.Namespace) -> None:
    """Print one card: its data and its prose."""
    card = _card(arguments.id)
    facts = {
        "title": card.title, "task": card.task, "family": card.family, "licence": card.licence, "architecture": dict(card.arch),
        "schedule": dict(card.schedule), "guidance": card.guidance.default if card.generates else None,
        "sampling": f"{card.sampling.solver}, {card.sampling.steps} steps" if card.sampling else None,
        "parameters": card.cost.params, "bytes": card.bytes, "labels": ", ".join(card.label_names), "measured": dict(card.measured),
    }  # fmt: skip
    if arguments.json:
        print(json.dumps({"id": card.id} | facts, indent=1))
        return
    print(card.id)
    for key, value in facts.items():
        if value:
            print(f"  {key:<13} {value}")
    print(f"\n{card.text}")


def sample(arguments: argparse.Namespace) -> None:
    """Make pictures, put them with their receipts into the folder asked for, and print the paths or the receipts."""
    from zoo.hub import Hub
    from zoo.request import Progress, Result

    card = _card(arguments.id)
    chosen = seeds(arguments.seed)
    labels = tuple(find_label(card, name) for name in arguments.label.split(",")) if arguments.label is not None else ()
    if not labels and card.arch.get("num_classes") and card.generates:
        raise RequestError(
            f"{card.id} draws one of {card.arch['num_classes']} classes: choose one with --label, e.g. --label {card.label_names[0]}."
        )
    request = Request(card.id, labels, chosen, arguments.steps, arguments.solver, arguments.guidance, eta=arguments.eta)
    hub = Hub(device=arguments.device, dtype=arguments.dtype)
    for item in hub.generate(request, preview=False):
        if isinstance(item, Progress) and item.total:
            print(f"\rstep {item.step} of {item.total}, {item.seconds_left:.1f} s left ", end="", file=sys.stderr, flush=True)
        if isinstance(item, Result):
            print(f"\r{len(item.files)} images in {item.seconds:.1f} s            ", file=sys.stderr)
            files = hub.results.copy(item.files, Path(arguments.out))
            print(json.dumps(item.receipts, indent=1) if arguments.json else "\n".join(map(str, files)))


def _card(identity: str):
    from zoo.hub import Hub

    return cards()[identity] if identity in cards() else Hub().card(identity)


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="python -m zoo", description="Patchwork: a hub of diffusion transformers.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="every model, its size, licence and whether it is here")
    listing.set_defaults(run=list_models)
    showing = commands.add_parser("show", help="one model's card")
    showing.add_argument("id", metavar="ID")
    showing.set_defaults(run=show)
    sampling = commands.add_parser(
        "sample", help="make pictures", epilog="example: python -m zoo sample tiny-dit --label star --seed 0-3 --out stars"
    )
    sampling.add_argument("id", metavar="ID")
    sampling.add_argument("--label", help="class name or number; one, or one an image separated by commas")
    sampling.add_argument("--seed", default="random", help="7, 0-3, 0-3,10 or random (default)")
    sampling.add_argument("--steps", type=int, help="default: the card's")
    sampling.add_argument("--solver", help=f"{', '.join(SOLVERS)}; default: the card's")
    sampling.add_argument("--guidance", type=float, help="w of eps = uncond + w (cond - uncond), 1 is off; default: the card's")
    sampling.add_argument("--eta", type=float, default=0.0, help="noise of ddim, 0 to 1")
    sampling.add_argument("--out", default=".", metavar="DIR", help="where the PNGs go")
    sampling.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    sampling.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    sampling.set_defaults(run=sample)
    for command in (listing, showing, sampling):
        command.add_argument("--json", action="store_true", help="print JSON")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.run(chosen)
        sys.stdout.flush()
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the results, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
