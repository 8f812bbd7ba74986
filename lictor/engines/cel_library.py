"""The functions that expressions may call: those of Kubernetes' environment and no others.

Kubernetes 1.36 compiles new expressions in the environment of 1.35. Of it, this has the standard
functions, optionals, strings (version 2), sets, lists (version 3) and two-variable macros. Not
here: `cel.bind`, `math`, encoders and `regex.*`, which the engine has and Kubernetes has not.
"""

from collections.abc import Sequence
from typing import Final

from cel_expr_python import cel

from lictor.model.patch import escape_key

MAX_ELEMENTS: Final = 10_000
"""Elements that `lists.range` and `split` make; the engine's loops stop there too. The engine's own
`lists.range(100000000)` takes seconds and gigabytes, and its argument can come from an object."""

_CONFIGURATION: Final = """
name: lictor
extensions:
- name: optional
- name: strings
  version: 2
- name: sets
- name: lists
- name: two-var-comprehensions
"""


def _range(count: int) -> list[int]:
    if count > MAX_ELEMENTS:
        raise ValueError(f"budget: a list of {count} elements; at most {MAX_ELEMENTS}")
    return list(range(count))


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    parts = text.count(separator) + 1 if separator else len(text)
    if 0 < limit < parts:
        parts = limit
    if parts > MAX_ELEMENTS:
        raise ValueError(f"budget: a list of {parts} elements; at most {MAX_ELEMENTS}")
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    return [*text[: parts - 1], text[parts - 1 :]] if text else []


def _functions() -> list[cel.FunctionDecl]:
    text, integer, texts = cel.Type.STRING, cel.Type.INT, cel.Type.List(cel.Type.STRING)
    escape = cel.Overload(
        "jsonpatch_escape_key", return_type=text, parameters=[text], impl=escape_key
    )
    count = cel.Overload(
        "lictor_range_int",
        return_type=cel.Type.List(integer),
        parameters=[integer],
        impl=_range,
    )
    split = [
        cel.Overload(
            f"lictor_split_{len(parameters)}",
            return_type=texts,
            parameters=parameters,
            is_member=True,
            impl=_split,
        )
        for parameters in ([text, text], [text, text, integer])
    ]
    return [
        cel.FunctionDecl("jsonpatch.escapeKey", [escape]),
        cel.FunctionDecl("lictor_range", [count]),
        cel.FunctionDecl("lictor_split", split),
    ]


def new_environment(variables: Sequence[str]) -> cel.Env:
    """Make the engine's environment; all variables are dynamic, as objects without schema are."""
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_CONFIGURATION),
        variables=dict.fromkeys(variables, cel.Type.DYN),
        functions=_functions(),
    )
