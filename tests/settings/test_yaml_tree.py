"""YAML is read as the engine reads it (Go's yaml.v3), not as PyYAML does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.yaml_tree import YamlError, read, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # PyYAML: True, False, 750 and octal 8.
        ("yes", "yes"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("0o10", 8),
        ("010", 8),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-7", -7),
        ("089", 89),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("8.0", 8),
        (".5", 0.5),
        ("1.36", 1.36),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2**64),
        ("1e999", "1e999"),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("Null", None),
        (".inf", math.inf),
        ("64Gi", "64Gi"),
        ("-5s", "-5s"),
        ("+", "+"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ],
)
def test_a_plain_scalar_has_the_value_that_gos_yaml_gives_it(text, value):
    read_back = scalar(text)
    assert read_back == value
    assert type(read_back) is type(value)


def test_quotes_make_text():
    assert read("a: \"1\"\nb: 'true'\nc: !!str 5\nd: |\n  x\n").value == {"a": "1", "b": "true", "c": "5", "d": "x\n"}


def test_dates_without_quotes_are_found():
    tree = read("a: 2026-11-24\nb: 2026-13-45\nc: '2026-11-24'\nd: 2026-1-1 10:00:00\n")
    assert tree.dates == [("a",), ("d",)]


def test_anchors_and_merges():
    text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\nagain: *base\n"
    assert read(text).value == {"base": {"a": 1, "b": 2}, "other": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}}


def test_each_key_and_list_item_has_its_line():
    tree = read("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n")
    assert tree.lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5, ("a", "c", 1, "y"): 5}


def test_both_of_two_equal_keys_are_kept():
    """A second paste of `shard:` must not hide what is wrong in the first."""
    tree = read("a: {x: 1, z: {p: 1}}\na: {y: 2, z: {q: 2}}\n")
    assert tree.value == {"a": {"x": 1, "y": 2, "z": {"p": 1, "q": 2}}}
    assert [(d.path, d.first_line, d.second_line) for d in tree.duplicates] == [(("a",), 1, 2)]


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("a:\n\tb: 1\n", "is indented with a tab, which YAML does not allow", 2),
        ("a: [1\nb: 2\n", "is not YAML: while parsing a flow sequence did not find expected ',' or ']' (started on line 1)", 2),
        ("a: 'x\n", "is not YAML: while scanning a quoted scalar found unexpected end of stream (started on line 1)", 2),
        ("a: 1\n b: 2\n", "is not YAML: mapping values are not allowed in this context", 2),
        ("a: *b\n", "refers to &b, which is not defined above", 1),
        ("a: 1\n---\nb: 2\n", "starts a second document: Pulumi would ignore everything below", 2),
        ("? [a, b]\n: 1\n", "has a list or a block where a key's name is expected", 1),
        ("a: " + "[" * 50_000, "is nested more than 64 levels deep, which no setting is", 1),
        ("a: \x00", "contains a character that YAML does not allow: '\\x00'", 1),
        (LAUGHS, "contains more than 20000 values", 5),
    ],
)
def test_what_pulumi_would_not_read_is_an_error_with_its_line(text, says, line):
    with pytest.raises(YamlError) as raised:
        read(text)
    assert (str(raised.value), raised.value.line) == (says, line)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t01.~<\x00é", max_size=60))
def test_garbage_is_refused_or_read(text):
    try:
        read(text)
    except YamlError as error:
        assert error.line >= 1
        assert "\n" not in str(error)
