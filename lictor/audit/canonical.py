"""The canonical form of an object, `kcj/1`: what every digest of an object is taken of.

Keys sorted by code point, no white space, integers exact, floats by the RFC 8785 number rule. It
is wider than RFC 8785 on purpose: an int64 of Kubernetes need not fit a double.
"""

import math
import re
from typing import Final

import msgspec
import rfc8785

from lictor.errors import InputError, TooDeepError
from lictor.jsontypes import Json

# A float token of compact JSON. A string can look like one too, which only costs the slow path.
_FLOAT: Final = re.compile(rb"(?:\":|[\[,])-?\d+[.eE][\d.eE+-]*[,\]}]")


def canonical(value: Json) -> bytes:
    """Encode `value` as `kcj/1`.

    Raises:
        InputError: it holds NaN, an infinity, a lone surrogate or a key that is no string.
        TooDeepError: it is nested deeper than the encoder can follow.
    """
    try:
        data = msgspec.json.encode(value, order="sorted")
        # msgspec writes floats in its own way, and NaN as `null`.
        if isinstance(value, float) or b"null" in data or _FLOAT.search(data):
            data = msgspec.json.encode(_with_number_rule(value), order="sorted")
    except RecursionError as err:
        raise TooDeepError("nested deeper than the canonical form can follow") from err
    except UnicodeEncodeError as err:
        raise InputError("a string with a lone surrogate has no canonical form") from err
    except TypeError as err:
        raise InputError(f"no canonical form: {err}") from err
    return data


def _with_number_rule(value: Json) -> object:
    if isinstance(value, dict):
        return {key: _with_number_rule(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_number_rule(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError("NaN and infinities have no canonical form")
        return msgspec.Raw(rfc8785.dumps(value))
    return value
