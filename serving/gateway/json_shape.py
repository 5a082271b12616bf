"""The shape of a JSON body, looked at before anything parses it: how deep, how many names, whether UTF-8.

Parsers go down a level a call, so that a kilobyte of brackets would break one. It does not check that the
body is JSON, which the parser does.
"""

import re
from typing import Final

from serving.gateway.problems import ProblemError

__all__ = ["check_shape"]

# A string, or its beginning where it does not end; atomic, so that it takes linear time.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")


def check_shape(body: bytes, *, max_depth: int, max_keys: int) -> None:
    """Refuse a body that no honest client sends.

    Raises:
        ProblemError: It is not UTF-8, too deep, or has too many names.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise ProblemError("malformed-body", "the body is not UTF-8") from None
    outside = _STRING.sub(b"", body)
    if outside.count(b":") > max_keys:
        raise ProblemError("malformed-body", f"the body has more than {max_keys:,} names")
    depth = 0
    for bracket in _BRACKET.findall(outside):
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise ProblemError("malformed-body", f"the body is nested more than {max_depth} levels deep")
