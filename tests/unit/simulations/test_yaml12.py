"""YAML as version 1.2 has it: nothing is guessed, and nothing given twice is lost."""

import contextlib
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.simulation import yaml12


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e4", 10_000.0),
        ("6e-2", 0.06),
        ("2.5e5", 250_000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("0", 0),
        ("010", "010"),  # a code; 8 to YAML 1.1
        ("001", "001"),
        ("1:30", "1:30"),  # 90 to YAML 1.1
        ("1_000", "1_000"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("", None),
        ("2024-06-30", "2024-06-30"),
        ("'010'", "010"),
    ],
)
def test_a_plain_scalar_is_what_it_looks_like(text: str, value: object) -> None:
    found = yaml12.load(f"a: {text}")["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice.*line 3"),
        ("a: {b: 1, b: 2}", "key 'b' is given twice"),
        ("010: 1\n'010': 2", "key '010' is given twice"),
        ("? [1, 2]\n: 3", "a key must be a word or a number"),
        ("a: [1", "expected"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: !!int x", "invalid literal"),
        ("- " * 5_000 + "1", "nested too deeply"),
    ],
)
def test_what_is_no_yaml_is_refused(text: str, told: str) -> None:
    with pytest.raises(yaml.YAMLError) as refused:
        yaml12.load(text)
    assert re.search(told, " ".join(str(refused.value).split()))


@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(yaml.YAMLError):
        yaml12.load(text)
