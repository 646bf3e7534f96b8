"""What a prompt becomes before CLIP's encoder sees it: the tokens of U-ViT's own tokenizer, wherever it was copied from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo.networks import text_encoders

ARCH = {"num_context_tokens": 77}
SAME = {
    "curly quotes": ("a dog\u2019s \u201cred\u201d ball", 'a dog\'s "red" ball'),
    "a ligature": ("a \ufb01sh in the o\ufb03ce", "a fish in the office"),
    "full-width letters": ("\uff41 \uff43\uff41\uff54", "a cat"),
    "mojibake": ("caf\u00c3\u00a9 at night", "caf\u00e9 at night"),
    "an HTML entity": ("salt &amp; pepper", "salt & pepper"),
    "a letter in two pieces": ("cafe\u0301", "caf\u00e9"),
    "the line ends of Windows": ("a cat\r\non a mat", "a cat on a mat"),
    "colours of a terminal": ("\x1b[31ma red bus\x1b[0m", "a red bus"),
    "capitals and blanks": ("  A  Red\tBus ", "a red bus"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """vocab.json and merges.txt of CLIP's kind of tokenizer, whose only merge is `c a`."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder = tmp_path_factory.mktemp("tokenizer")
    letters = list(bytes_to_unicode().values())
    known = [*letters, *(f"{letter}</w>" for letter in letters), "ca", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(known)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nc a\n", encoding="utf-8")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(("odd", "plain"), SAME.values(), ids=SAME)
def test_an_odd_prompt_becomes_the_tokens_of_the_plain_one(files: dict[str, Path], odd: str, plain: str) -> None:
    assert text_encoders.tokens(ARCH, files, odd) == text_encoders.tokens(ARCH, files, plain)


@pytest.mark.parametrize(
    "prompt", ["it\u2019s 24 cats!?", "\u30cf\u30f3\u30ab\u30af", "don't \u2014 stop", "na\u00efve caf\u00e9s", "x\u00b2 \u2260 \u00bd"]
)
def test_tokens_are_those_of_u_vits_tokenizer(files: dict[str, Path], prompt: str) -> None:
    import regex
    from ftfy import fix_text
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters, numbers = bytes_to_unicode(), json.loads(files["vocab.json"].read_text(encoding="utf-8"))
    wanted = [numbers["<|startoftext|>"]]
    pieces = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")  # the words that CLIP's own tokenizer splits into
    for word in pieces.findall(" ".join(fix_text(prompt).split()).lower()):
        *first, last = (letters[byte] for byte in word.encode())
        parts = " ".join([*first, f"{last}</w>"]).replace("c a ", "ca ").split()
        wanted += [numbers[part] for part in parts]
    wanted.append(numbers["<|endoftext|>"])
    found, length = text_encoders.tokens(ARCH, files, prompt)
    assert found[: len(wanted)] == wanted
    assert set(found[len(wanted) :]) == {numbers["<|endoftext|>"]}
    assert length == 77


def test_a_lone_half_of_a_character_does_not_break_a_prompt(files: dict[str, Path]) -> None:
    assert len(text_encoders.tokens(ARCH, files, "a \ud83d cat")[0]) == 77
