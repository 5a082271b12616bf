"""What every answer tells browsers, and bodies that no parser should see."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.gateway.json_shape import check_shape
from serving.gateway.problems import ProblemError

JSON = {"Content-Type": "application/json"}


def test_every_answer_forbids_guessing_and_framing(gateway: TestClient) -> None:
    for path in ("/v1/suggestions/none", "/v1/none", "/none", "/healthz", "/metrics", "/docs"):
        check_headers(gateway, path)


def check_headers(gateway: TestClient, path: str) -> None:
    headers = gateway.get(path).headers
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer" and "camera=()" in headers["permissions-policy"]
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy
    assert (headers.get("cache-control") == "no-store") is (path != "/docs")
    assert "http" not in policy and "strict-transport-security" not in headers


def test_a_refusal_has_the_headers_too(gateway: TestClient) -> None:
    assert gateway.post("/v1/suggestions", headers={"Authorization": ""}).headers["cache-control"] == "no-store"


def body_of(text: bytes) -> bytes:
    return b'{"record_id": "r1", "encounter": %s}' % text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (body_of(b"[" * 100_000), "nested more than 32 levels"),
        (body_of(b'{"a":' * 5000 + b"1" + b"}" * 5000), "nested more than 32 levels"),
        (b'{"record_id": "\xff\xfe"}', "not UTF-8"),
        (b'{"record_id": "\xed\xa0\x80"}', "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"record_id": "r1"', "cannot be read as JSON"),
        (b"NaN" * 10, "cannot be read as JSON"),
    ],
)
def test_a_body_that_no_honest_client_sends_is_400(gateway: TestClient, body: bytes, told: str) -> None:
    for path in ("/v1/suggestions", "/v1/decisions", "/v1/jobs", "/v1/queries/x/answer"):
        answer = gateway.post(path, content=body, headers=JSON | {"Idempotency-Key": "k"})
        assert answer.status_code == 400, answer.text
        assert answer.json()["type"].endswith("malformed-body") and told in answer.json()["detail"]


def test_brackets_and_colons_inside_of_text_count_for_nothing(
    gateway: TestClient, request_body: dict[str, Any]
) -> None:
    request_body["notes"][0]["text"] = '[[{{"\\' * 3000 + ":" * 50_000
    assert gateway.post("/v1/suggestions", json=request_body).status_code == 200


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth_of, parts), default=0)


@given(value=JSON_VALUES, ascii_only=st.booleans())
def test_the_depth_is_that_of_the_parsed_value(value: Any, ascii_only: bool) -> None:
    body, depth = json.dumps(value, ensure_ascii=ascii_only).encode(errors="replace"), depth_of(value)
    check_shape(body, max_depth=depth, max_keys=10_000)
    if depth:
        with pytest.raises(ProblemError):
            check_shape(body, max_depth=depth - 1, max_keys=10_000)


@pytest.mark.parametrize("body", [b'"' + b"\\" * 999_999, b'"' * 1_000_000, b'"a' * 500_000, b"{" * 1_000_000])
def test_looking_takes_linear_time(body: bytes) -> None:
    started = time.process_time()
    try:
        check_shape(body, max_depth=2_000_000, max_keys=1)
    finally:
        assert time.process_time() - started < 2


def test_a_body_with_too_many_names_is_refused() -> None:
    body = json.dumps({str(number): ":" for number in range(101)}).encode()
    check_shape(body, max_depth=1, max_keys=101)
    with pytest.raises(ProblemError, match="more than 100 names"):
        check_shape(body, max_depth=1, max_keys=100)
