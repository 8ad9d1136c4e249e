"""What identifies a person is found where it is one, and covered without touching the rest."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.rules.pii import find_pii, redact

KINDS = ("card", "email", "iban", "ip", "phone", "ssn")


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("write to joe.smith+x@mail.example.com.", "write to [EMAIL]."),
        ("call (888) 736-9466 or +44 20 7946 0958!", "call [PHONE] or [PHONE]!"),
        ("card 4111 1111 1111 1111, or 5500-0000-0000-0004", "card [CARD], or [CARD]"),
        ("IBAN DE89 3704 0044 0532 0130 00 it is", "IBAN [IBAN] it is"),
        ("from 8.8.8.8 it came", "from [IP] it came"),
        ("ssn 536-90-4399 is", "ssn [SSN] is"),
        (
            "\u0627\u0643\u062a\u0628 a@b.org \u0627\u0644\u0622\u0646",
            "\u0627\u0643\u062a\u0628 [EMAIL] \u0627\u0644\u0622\u0646",
        ),
    ],
)
def test_what_is_one_is_covered(text: str, covered: str) -> None:
    assert redact(text, KINDS) == covered
    assert redact(covered, KINDS) == covered


@pytest.mark.parametrize(
    "text",
    [
        "",
        "card 4111 1111 1111 1112",  # the check digit is wrong
        "on 2024-01-15 10:30, or 15.01.2024",
        "pi is 3.14159265358979, and 1,234,567 + 89",
        "isbn 978-3-16-148410-0",
        "at 192.168.0.1 or 127.0.0.1 or 300.1.1.1",
        "ssn 000-12-3456",
        "12 34 56 78 90 11 22 33 44 55 66 77 88 99",
        "not@an address, @name, a@b",
        "DE00 1234 5678 9012 3456 78",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text, KINDS) == text


def test_only_the_kinds_that_are_asked_for() -> None:
    text = "a@b.org or (888) 736-9466"
    assert redact(text, ["phone"]) == "a@b.org or [PHONE]"
    assert redact("030 901820 is Berlin's", ["phone"], region="DE").startswith("[PHONE]")
    assert redact("030 901820 is Berlin's", ["phone"], region="US").startswith("030")


@given(st.text(alphabet=st.sampled_from("0123456789 ()-.+@abX:"), max_size=120))
def test_spans_lie_apart_and_covering_twice_changes_nothing(text: str) -> None:
    spans = find_pii(text, KINDS)
    for one, other in itertools.pairwise(spans):
        assert one.end <= other.start
    covered = redact(text, KINDS)
    rest = text
    for span in reversed(spans):
        rest = f"{rest[: span.start]}[{span.kind.upper()}]{rest[span.end :]}"
    assert covered == rest
