"""Cards and studies in YAML: what people write is read, and a small file that says a thousand million is refused at once."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zoo.catalog import plain_yaml
from zoo.catalog.card import parse
from zoo.compare import study
from zoo.errors import CardError, RequestError

ROOT = Path(__file__).parent.parent
MERGES = "a0: &a0 {k: 1, l: 2}\n" + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 8)}]}}\n" for k in range(1, 12))
LAUGHS = "a0: &a0 [1, 2]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))
HOSTILE = {
    "merges": MERGES,
    "aliases": LAUGHS,
    "number with a dot": f"steps: {'1' * 400_000}.{'1' * 400_000}",
    "whole number": f"steps: {'7' * 900_000}",
    "number in sixties": f"steps: {':'.join(['59'] * 200_000)}",
    "underscores": f"steps: 1{'_' * 900_000}.e",
    "deep list": "a: " + "[" * 400_000,
    "deep blocks": "".join(f"{' ' * k}a:\n" for k in range(1200)),
    "itself": "a: &a [*a]",
    "many values": f"a: [{'1,' * 450_000}]",
    "day": "a: 2026-99-99",
    "list as a key": "{[1]: 2}",
    "floats": f"a: [{','.join(['1e308'] * 160_000)}]",
    "set": f"!!set {{{','.join(f'a{k}' for k in range(90_000))}}}",
    "aliases in lists": "a0: &a0 [1]\n" + "".join(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 50)}]\n" for k in range(1, 5)),
    "aliases as keys": "a: &a [1, 2]\nb: {" + ", ".join(f"? [*a, {k}] : 1" for k in range(20_000)) + "}",
    "deep JSON": '{"a":' * 150_000 + "1" + "}" * 150_000,
    "object": "!!python/object/apply:os.system [exit]",
}


def test_what_people_write_is_what_yaml_says_anchors_and_merges_too() -> None:
    text = "shared: &s {steps: 5, guidance: 1.5}\ncolumns:\n - {<<: *s, model: tiny-dit}\n - {<<: *s, steps: 7}\nday: 2026-11-25\nno: ~\n"
    assert plain_yaml.load(text) == yaml.safe_load(text)
    assert plain_yaml.load("") is None


@pytest.mark.parametrize("name", HOSTILE)
def test_what_nobody_writes_is_refused_in_a_sentence_by_studies_and_cards(name: str, tmp_path: Path, says) -> None:
    (tmp_path / "study.yaml").write_text(HOSTILE[name])
    with says(RequestError, "not valid YAML"):
        study.read(tmp_path / "study.yaml")
    with says(CardError, "not YAML") as caught:
        parse("own", f"---\n{HOSTILE[name]}\n---\n")
    assert len(str(caught.value)) < 400


CHILD = """
import json, resource, sys, time
from zoo.catalog import plain_yaml
start = resource.getrusage(resource.RUSAGE_SELF)
for name, text in json.load(sys.stdin).items():
    before = time.process_time()
    try:
        plain_yaml.load(text)
    except plain_yaml.yaml.YAMLError:
        pass
    print(json.dumps([name, time.process_time() - before, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start.ru_maxrss) / 1024]))
"""


def test_refusing_costs_moments_and_little_memory() -> None:
    limit = (2 << 30, 2 << 30)
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(HOSTILE), cwd=ROOT, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(HOSTILE)
    assert [row for row in rows if row[1] > 4 or row[2] > 200] == []  # seconds of a core, several times what is demanded; MB
