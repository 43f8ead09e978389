"""YAML as its version 1.2 has it, and nothing that its reader would have to guess.

PyYAML reads version 1.1, where `on` is a truth value, 1:30 a number of seconds, 010 the number 8 and 1e4 a text, and of
a key given twice it keeps the last without a word. Here numbers are what JSON and YAML 1.2 take for numbers; digits
after a leading zero are a code, and stay text; a key given twice is refused with its line.

Source: YAML 1.2.2, section 10.3 (core schema), section 3.2.1.1 (keys are unique).
"""

import re
from collections.abc import Hashable
from typing import Any, ClassVar

import yaml

_WHOLE = r"(?:0|[1-9][0-9]*)"
_NUMBER = rf"[-+]?(?:\.[0-9]+|{_WHOLE}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_SCHEMA: dict[str, tuple[str, str]] = {
    "null": ("~|null|Null|NULL|", "~nN"),
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (rf"[-+]?{_WHOLE}", "-+0123456789"),
    "float": (rf"{_NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
}
"""By tag: what a plain scalar of it looks like, and the characters it may begin with. The first that fits counts."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2 and unique keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word or a number", key_node.start_mark
                )
            key = self.construct_object(key_node)
            if key in seen:
                raise _refusal(f"key {key!r} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refusal(told: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, told, node.start_mark)


for _tag, (_pattern, _first) in _SCHEMA.items():
    _begins = [*_first, ""] if _tag == "null" else [*_first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _begins)


def load(text: str) -> Any:
    """The one document of the text. Raises yaml.YAMLError, with the line, for what is none."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it derives from SafeLoader
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
