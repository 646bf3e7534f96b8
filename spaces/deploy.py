"""Host this hub, by one command: python spaces/deploy.py NAME --flavour cpu|zerogpu|gpu|docker|studio; spaces/README.md says more."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # for zoo; at the end, so that nothing in the checkout hides a package

from deploying import hugging_face, modelscope, places, tree  # noqa: E402
from deploying.asking import MARK, Plan, say, secret  # noqa: E402
from deploying.places import FLAVOURS, DeployError  # noqa: E402
from zoo.catalog.settings import OF_A_SPACE, SETTINGS, words  # noqa: E402
from zoo.errors import ZooError  # noqa: E402

NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY", re.IGNORECASE)
"""Names of variables that nobody else should read."""
SHOWN = 6
"""How many files are named."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    made = argparse.ArgumentParser("deploy.py", description="Host this hub on Hugging Face or ModelScope.")
    made.add_argument("name", metavar="NAME", help="of the Space or studio: name, or owner/name")
    made.add_argument("--flavour", choices=FLAVOURS, default="cpu", help="where and how; default: cpu")
    made.add_argument("--models", type=words, metavar="ID,ID", default=[], help="offer only these, and bring their weights")
    made.add_argument("--private", action="store_true", help="only its owner sees it")
    made.add_argument("--hardware", metavar="NAME", help="instead of the flavour's own; a wrong one is answered with a list")
    made.add_argument("--variable", action="append", default=[], metavar="NAME=VALUE", help="a setting of the hub; everybody can read it")
    made.add_argument("--secret", action="append", default=[], metavar="NAME", help="its value is taken from the environment, or asked for")
    made.add_argument("--dry-run", type=Path, metavar="DIR", help="write what would be sent into a new folder, and send nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything that can be checked here, then write the tree or bring it to its place."""
    given = parser().parse_args(arguments)
    try:
        found = tree.checkout(ROOT)
        plan = planned(given, found)
        for text in left_out(found):
            say(text)
        if given.dry_run:
            tree.write(plan.tree, given.dry_run)
            say(described(plan))
            print(given.dry_run)
        else:
            print((modelscope if plan.place.hub == "modelscope" else hugging_face).deploy(plan))
    except ZooError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def planned(given: argparse.Namespace, found: tree.Checkout) -> Plan:
    """What the arguments ask for. Raises DeployError for what cannot be."""
    place = FLAVOURS[given.flavour]
    name = given.name.strip()
    if not NAME.fullmatch(name) or len(name) > 96 or "--" in name or ".." in name or name.endswith(".git"):
        raise DeployError(f"{name[:60]!r} is no name: write name or owner/name with letters, digits, '-', '_' and '.', at most 96 of them.")
    models, hardware = places.chosen(given.models), given.hardware or place.hardware
    places.check_sizes(given.flavour, hardware, models)
    sources = places.weights(given.flavour, models)
    head: dict[str, Any] = {"preload_from_hub": places.preloads(sources)} if sources and place.weights == "preload" else {}
    mounts = places.mounts(sources) if place.weights == "mount" else {}
    variables = {MARK: given.flavour} | dict(map(variable, given.variable))
    if models:
        variables["PATCHWORK_OFFER"] = ",".join(card.id for card in models)
    if mounts:
        variables["PATCHWORK_MODELS"] = ":".join(mounts)
    if place.sdk == "docker" and not hardware.startswith("cpu"):
        variables.setdefault("TORCH_INDEX", "https://pypi.org/simple")  # variables are build arguments, too: a PyTorch with CUDA
    if place.hub == "modelscope":
        variables.setdefault("PATCHWORK_ALLOWED_HOSTS", "*")  # a studio is not told under which name it is opened
        variables.setdefault("FORWARDED_ALLOW_IPS", OF_A_SPACE)  # nor is the hub there told that it is in one
    if variables.get("PATCHWORK_LOGIN"):
        if place.hub == "modelscope":
            raise DeployError("PATCHWORK_LOGIN works on Hugging Face only: leave it out, and keep a studio to yourself by --private.")
        head["hf_oauth"] = True
    files = tree.build(found, given.flavour, head)
    if place.hub == "modelscope":
        chosen = json.loads(tree.content(files[modelscope.SETTINGS])) | {"resource_configuration": hardware}
        files[modelscope.SETTINGS] = (json.dumps(chosen, indent=2) + "\n").encode()
    if wrong := [key for key in given.secret if not VARIABLE.fullmatch(key)]:
        raise DeployError(f"{wrong[0][:40]!r} is no name of a variable: --secret takes the name, and never the value.")
    secrets = {key: "" if given.dry_run else secret(key) for key in given.secret}
    message = f"Patchwork {found.commit}{' and changes' if found.changed else ''}, flavour {given.flavour}"
    return Plan(name, given.flavour, place, hardware, given.private, files, message, variables, secrets, mounts)


def variable(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises ZooError for what is none, for what looks like a secret, and for what the hub would not take."""
    key, equals, value = text.partition("=")
    if not equals or not VARIABLE.fullmatch(key):
        raise DeployError(f"{key[:40]!r} is no setting: write --variable NAME=VALUE.")
    if SECRET.search(key):
        raise DeployError(f"Everybody can read the variables of a Space: set {key} in the environment and write --secret {key}.")
    if setting := next((one for one in SETTINGS if one.variable == key), None):
        setting.value(value, key)
    if key == "PATCHWORK_OFFER":
        places.chosen(words(value))
    return key, value


def left_out(found: tree.Checkout) -> list[str]:
    """What somebody might expect to be sent otherwise, in words."""
    told = []
    if found.changed:
        told.append(f"sent as they are now, though not committed: {listed(found.changed)}")
    if found.untracked:
        told.append(f"left out, as git does not know them: {listed(found.untracked)}")
    return told


def listed(paths: Sequence[str]) -> str:
    """The first few paths, and how many there are besides."""
    more = len(paths) - SHOWN
    return ", ".join(paths[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def described(plan: Plan) -> str:
    """What a deploy would set beside the files, in words."""
    size = sum(len(tree.content(file)) for file in plan.tree.values())
    lines = [f"{len(plan.tree)} files, {size / 1e6:.1f} MB, for {plan.hardware}"]
    lines += ["only its owner sees it"] * plan.private
    lines += [f"{key}={value}" for key, value in plan.variables.items()]
    lines += [f"secret {key}" for key in plan.secrets]
    lines += ["visitors log in with Hugging Face (hf_oauth)"] * ("PATCHWORK_LOGIN" in plan.variables)
    return "\n".join([*lines, *(f"{repo} mounted at {path}" for path, repo in plan.mounts.items())])


if __name__ == "__main__":
    sys.exit(main())
