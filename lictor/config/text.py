"""YAML text to plain values, with YAML 1.2's booleans and without doubled keys."""

import re
from collections.abc import Hashable
from typing import Any, Final

import yaml
from typing_extensions import override

from lictor.errors import SettingsError

MAX_BYTES: Final = 1024 * 1024
"""Of one settings file: a thousand owners with all policies listed take a tenth of it."""


class _Loader(yaml.SafeLoader):
    """Safe values only. `off` stays a word: in YAML 1.1, which PyYAML reads, it means false."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the base class declares it)
        first: [(tag, regexp) for tag, regexp in found if tag != "tag:yaml.org,2002:bool"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f'the key "{key.value}" is there twice'
                raise yaml.constructor.ConstructorError(
                    problem=problem, problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(data: bytes, *, name: str) -> object:
    """Read one YAML document; `name` is what errors call it.

    Raises:
        SettingsError: it is too large, not UTF-8, not one YAML document, or doubles a key.
    """
    if len(data) > MAX_BYTES:
        raise SettingsError(f"{name}: {len(data)} bytes; expected at most {MAX_BYTES}")
    try:
        loader = _Loader(data.decode())
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except UnicodeDecodeError as err:
        raise SettingsError(f"{name}: not UTF-8") from err
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise SettingsError(f"{name}: not YAML: {_where(err)}") from err


def _where(err: Exception) -> str:
    problem, mark = getattr(err, "problem", None), getattr(err, "problem_mark", None)
    if not problem:
        return " ".join(str(err).split()) or type(err).__name__
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)
