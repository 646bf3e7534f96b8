"""Whatever the code says to somebody on the page has its twin in Chinese: errors by what they raise, notes by what a tab says."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "zoo" / "ui" / "language" / "zh-CN"
MESSAGES = TABLES / "messages.json"
COVERED = ("engine", "catalog", "sampling", "backbones", "networks", "media", "inside", "compare", "ui")
SAID = {"say", "note", "facts", "bar", "Warning", "Info"}
"""What shows words on the page, beside errors."""
OF_PYTHON = {"ValueError", "TypeError", "OSError", "RuntimeError", "AttributeError", "KeyError", "AssertionError"}
NOT_ON_THE_PAGE = ("ui/server/openai_api.py", "ui/server/mcp_api.py", "ui/server/mcp_tools.py", "ui/server/event_log.py")
"""Files that answer programs, or write the log."""
PIECES = {
    "{} {}.": "a file, and what is wrong with it: the whole has a twin for each thing that can be wrong",
    "{}: {}": "a place, and an error that has a twin of its own: the page takes the two apart at the colon",
    "At {}: {}": "a cell, and an error that has a twin of its own, as above",
    "{}: {}, through {}": "an error of another program, and a proxy that has a twin in words of its own",
    "{} answered {}": "a proxy and what it answered: so short that it would be found in what visitors write; the whole has twins",
    "{} does not fit this {}: {}: {}": "what it is instead comes between: both have twins, and keys of tensors have none",
    "{}: {}.": "a flag or a variable, and what it must be: the whole has a twin for each",
    "{} Look, then choose.": "two sentences, each of which has a twin",
    "{} Saved; the Votes tab counts it.": "two sentences, each of which has a twin",
    "Against the {}: {}": "the whole has a twin for a picture and for a video",
    "Remove {}? To use it again {} again.": "the whole has a twin for a model that is downloaded and for one that was added",
    "Deleted: {}.": "the whole has a twin for one choice and for several",
    "{}, {} % of them for attention, whose cost grows with the square of the tokens.": "the whole has a twin for each size of patches",
    "{} is a pickle that {}: it was not opened, and should not be trusted.": "the whole has a twin for each thing that it may do",
}
"""Forms that hold no words of their own, and why they need no twin."""
GLUED, FIELD = "\0", "{}"
"""A field that stands directly after a word, for pieces that are not always there; and any other."""


def forms(node: ast.expr, constants: Mapping[str, ast.Constant]) -> list[str]:
    """Every text that an expression of literals, and of a file's own constants, can be; its other parts as fields."""
    if isinstance(node, ast.Name):
        node = constants.get(node.id, node)
    if isinstance(node, ast.Constant):
        return [node.value if isinstance(node.value, str) else FIELD]
    if isinstance(node, ast.IfExp):
        return forms(node.body, constants) + forms(node.orelse, constants)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return [form for value in node.values for form in forms(value, constants)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return ["", *(form for form in forms(node.left, constants) if form)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([forms(node.left, constants), forms(node.right, constants)])
    if isinstance(node, ast.FormattedValue):
        return forms(node.value, constants)
    if isinstance(node, ast.JoinedStr):
        return _joined([forms(part, constants) for part in node.values])
    return [FIELD]


def _joined(parts: list[list[str]]) -> list[str]:
    texts = [""]
    for choices in parts:
        texts = [text + (GLUED if more == FIELD and re.search(r"[\w.})]$|\0$", text) else more) for text in texts for more in choices]
    return texts


def said(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every error and note in a file that has words of its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {one.targets[0].id: one.value for one in tree.body if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)}
    constants = {name: value for name, value in constants.items() if isinstance(value, ast.Constant) and " " in str(value.value)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if ast.unparse(node.func).startswith("event_log."):
            continue
        if name in SAID or (name.endswith("Error") and name not in OF_PYTHON):
            words = node.args[-1 if name == "bar" else 0]
            yield from ((node.lineno, form) for form in forms(words, constants) if re.search(r"[A-Za-z]{2}", form))


@cache
def twins() -> dict[str, str]:
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(TABLES.glob("*.json"))]
    return {english: chinese for table in tables for english, chinese in table.items()}


@cache
def _keys() -> str:
    return "\n".join(twins())


def has_twin(form: str) -> bool:
    """Whether a text stands in a table: whole, or each sentence of it; where pieces are glued to a word, some whole of it."""
    whole = form.replace(GLUED, FIELD)
    if not re.search(r"[A-Za-z]{2}", whole) or whole in twins() or whole in PIECES:
        return True
    if GLUED in form:
        pattern = ".*".join(map(re.escape, form.split(GLUED)))
        if re.search(rf"^{pattern}$", _keys(), re.MULTILINE):
            return True
    sentences = re.split(r"(?<!\.\.)(?<=[.?!]) ", form)
    return len(sentences) > 1 and all(has_twin(sentence) for sentence in sentences)


def files() -> list[Path]:
    every = (path for folder in COVERED for path in sorted((ROOT / "zoo" / folder).rglob("*.py")))
    return [path for path in every if not path.as_posix().endswith(NOT_ON_THE_PAGE)]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_error_and_note_has_its_twin_in_chinese(path: Path) -> None:
    assert [f"line {line}: {form!r}" for line, form in said(path) if not has_twin(form)] == []


def test_the_walk_over_the_code_sees_every_form_of_a_sentence() -> None:
    tree = ast.parse("RequestError(f\"{a} {'one' if b else f'two {c}'}{'s' * (n > 1)} of {d or 'none'}{e}.\")").body[0].value
    assert set(forms(tree.args[0], {})) >= {"{} one of none\0.", "{} ones of {}\0.", "{} two {} of {}\0.", "{} two {}s of none\0."}


def test_a_sentence_without_a_twin_is_found() -> None:
    assert not has_twin("This sentence stands in no table.")
    assert not has_twin("Nobody wrote\0 this: it is missing.")


def test_no_english_stands_twice_among_the_messages() -> None:
    pairs = json.loads(MESSAGES.read_text(encoding="utf-8"), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert sorted({key for key in keys if keys.count(key) > 1}) == []
    assert len(keys) > 700


def test_what_varies_in_a_sentence_varies_in_its_twin() -> None:
    wrong = []
    for english, chinese in json.loads(MESSAGES.read_text(encoding="utf-8")).items():
        count, places = english.count("{}"), re.findall(r"\{(\d*)\}", chinese)
        if places != [""] * count and sorted(places, key=str) != sorted(map(str, range(1, count + 1))):
            wrong.append(english)
    assert wrong == []


def test_twins_are_chinese_and_end_as_their_sentences_do() -> None:
    ends, wrong = {".": "。", "?": "？", "!": "！", "...": "…"}, []
    for english, chinese in json.loads(MESSAGES.read_text(encoding="utf-8")).items():
        end = next((mark for mark in ("...", ".", "?", "!") if english.endswith(mark)), "")
        ending = chinese.endswith(ends[end]) if end else not chinese.endswith(tuple(ends.values()))
        if not re.search(r"[\u4e00-\u9fff]", chinese) or not ending or re.search(r"[\u4e00-\u9fff][,;:!?]", chinese):
            wrong.append(english)
    assert wrong == []
