from pathlib import Path
from typing import Any

import pytest
import yaml

import clinical_coding.documentation as package
from clinical_coding.documentation.cues import Role, find_cues, is_relative, tokenise
from clinical_coding.documentation.scopes import find_scopes

CUES: dict[str, Any] = yaml.safe_load(Path(package.__file__).with_name("cues.yaml").read_text(encoding="utf-8"))
EXAMPLES = {
    "{start}": "",
    "{end}": ".",
    "{year}": "2011",
    "{past_year}": "2011",
    "{decade}": "1990s",
    "{participle}": "treated",
    **{f"{{{name}}}": words[0] for name, words in CUES["classes"].items()},
}


def words_of(phrase: str) -> str:
    for name, example in EXAMPLES.items():
        phrase = phrase.replace(name, example)
    return phrase.strip()


def roles_in(text: str) -> list[tuple[Role, str]]:
    tokens = tokenise(text, 0, len(text))
    return [
        (found.cue.role, text[tokens[found.start].start : tokens[found.end - 1].end])
        for found in find_cues(tokens, before_year=None)
    ]


@pytest.mark.parametrize("assertion", ["negated", "uncertain", "historical", "family", "hypothetical"])
def test_every_listed_cue_reaches_its_neighbour(assertion: str) -> None:
    unreached = []
    for form, phrases in CUES[assertion].items():
        for phrase in phrases:
            cue, is_before = words_of(phrase), form.startswith("before")
            text = f"{cue} gout" if is_before else f"gout {cue}"
            start = len(text) - 4 if is_before else 0
            scopes = find_scopes(text, 0, len(text), before_year=None)
            if not any(scope.assertion == assertion and scope.reaches(start, start + 4) for scope in scopes):
                unreached.append(phrase)
    assert not unreached


def test_every_listed_pseudo_cue_hides_what_is_in_it() -> None:
    heard = [phrase for phrase in CUES["pseudo"] if roles_in(words_of(phrase)) != [(Role.PSEUDO, words_of(phrase))]]
    assert not heard


def test_every_listed_terminator_ends_a_reach() -> None:
    for assertion, phrases in CUES["terminators"].items():
        for phrase in phrases:
            assert (Role.TERMINATOR, words_of(phrase)) in roles_in(words_of(phrase)), (assertion, phrase)


def test_the_longer_cue_holds() -> None:
    assert roles_in("no change in") == [(Role.PSEUDO, "no change in")]
    assert roles_in("no change") == [(Role.PSEUDO, "no change")]
    assert roles_in("no") == [(Role.BEFORE, "no")]


def test_cues_are_heard_in_any_letters_and_over_line_breaks() -> None:
    assert roles_in("NO\nEVIDENCE  OF") == [(Role.BEFORE, "NO\nEVIDENCE  OF")]
    assert roles_in("Can\u2019t exclude") == [(Role.BEFORE, "Can\u2019t exclude")]


@pytest.mark.parametrize(
    ("word", "expected"), [("Mother", True), ("father's", True), ("aunts", True), ("motherhood", False)]
)
def test_relatives(word: str, expected: bool) -> None:
    assert is_relative(word) is expected
