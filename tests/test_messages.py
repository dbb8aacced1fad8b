"""The check that every failure message of the tests goes through."""

import pytest
from messages import fault_of

from cseg.errors import DataError, reason


@pytest.mark.parametrize(
    "message",
    [
        "image a/b.png is missing; restore it or take it off the list",
        "config key seeds.0 is 1.5; give a whole number from 0 to 1000000",
        "voc2012 has 2 problems in 9 pairs:\n- image a.png is missing; restore it\n"
        "- label a.png is missing; restore it",
    ],
)
def test_a_sentence_with_thing_and_remedy_passes(message):
    assert fault_of(message) is None


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("image a.png is missing. Restore it", "more than one sentence"),
        ("image a.png is missing;\nrestore it", "more than one sentence"),
        ("image a.png is missing; restore it.", "full stop"),
        ("something is missing; restore it", "names nothing"),
        ("image a.png is missing", "no remedy"),
        ("image a.png is missing; this happens", "no remedy"),
        ("2 problems in 9 pairs:\n- image a.png is missing", "no remedy"),
    ],
)
def test_another_form_is_found(message, fault):
    assert fault in fault_of(message)


def test_every_failure_is_noted():
    from conftest import RAISED

    DataError("list a.txt is empty; restore it")
    assert RAISED[-1] == "list a.txt is empty; restore it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "Error tokenizing data. C error: EOF inside string.",
            "Error tokenizing data, C error: EOF",
        ),
        ("could not be opened:\n- gz\n- bz2", "could not be opened: - gz - bz2"),
        ("", "ValueError"),
    ],
)
def test_words_of_other_libraries_become_part_of_a_sentence(words, said):
    assert reason(ValueError(words)).startswith(said)
