"""Reading error.json: everything a worker may leave there, and that nothing of it raises."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from procession._report import errorfile
from procession._report.errorfile import (
    ErrorRecord,
    OwnEnd,
    interpret,
    own_end,
    read_error_file,
    summary,
)

SECOND = 10**9
NOW = 1_700_000_000
TRACEBACK = "Traceback (most recent call last):\nValueError: x\n"
GOOD: dict[str, Any] = {
    "message": {
        "message": "ValueError: x",
        "extraInfo": {
            "py_callstack": TRACEBACK,
            "timestamp": str(NOW),
            "timestamp_ns": NOW * SECOND + 123,
            "monotonic_ns": 55,
            "exception_type": "ValueError",
        },
    }
}


@pytest.fixture
def error_json(tmp_path: Path) -> Path:
    return tmp_path / "error.json"


def read(path: Path) -> ErrorRecord:
    record = read_error_file(str(path))
    assert record is not None
    return record


def read_text(path: Path, content: str | bytes) -> ErrorRecord:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path)


def test_a_whole_record(error_json: Path) -> None:
    record = read_text(error_json, json.dumps(GOOD))
    assert record == ErrorRecord(
        data=GOOD,
        message=GOOD["message"],
        traceback=TRACEBACK,
        exception_type="ValueError",
        timestamp_ns=NOW * SECOND + 123,
        monotonic_ns=55,
        problem=None,
    )
    assert summary(record.message) == "ValueError: x"


def test_the_layout_with_a_plain_message(error_json: Path) -> None:
    record = read_text(error_json, json.dumps({"message": "kernel panic", "timestamp": 10}))
    assert (record.message, record.timestamp_ns) == ("kernel panic", 10 * SECOND)
    assert (record.traceback, record.problem) == (None, None)
    assert summary(record.message) == "kernel panic"


NOT_USABLE = {
    "empty": ("", "empty"),
    "blank": (" \n\n", "empty"),
    "one brace": ("{", "torn"),
    "torn in a string": ('{"message": {"message": "Val', "torn"),
    "torn in a string after a brace": ('{"message": "a}', "torn"),
    "torn after an inner object": ('{"message": {"a": 1}', "torn"),
    "torn in an escape": ('{"message": "\\u00', "torn"),
    "torn in a literal": ('{"message": tru', "torn"),
    "torn in a character": ('{"message": "é'.encode()[:-1], "torn"),
    "text": ("Segmentation fault", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    "two objects": ('{"message": "a"}{}', "not JSON: Extra data: line 1 column 17 (char 16)"),
    "zeros": (b"\0" * 4096, "not JSON: Expecting value: line 1 column 1 (char 0)"),
    "binary": (bytes(range(128, 256)), "not JSON: Expecting value: line 1 column 1 (char 0)"),
    "UTF-16": (
        '{"message": "a"}'.encode("utf-16"),
        "not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "array": ("[1, 2]", "not an object"),
    "string": ('"oops"', "not an object"),
    "null": ("null", "not an object"),
    "NaN": ("NaN", "not an object"),
    "no message": ('{"error": "x"}', "without a message"),
    "message null": ('{"message": null}', "without a message"),
    "message a number": ('{"message": 7}', "without a message"),
    "message an array": ('{"message": ["a"]}', "without a message"),
    "message an empty object": ('{"message": {}}', "without a message"),
    "message of wrong types": (
        '{"message": {"message": 3, "extraInfo": {"py_callstack": []}}}',
        "without a message",
    ),
    "nested for the parser": ('{"message":' * 100_000, "nested too deep"),
    "nested for others": ('{"message": ' + "[" * 90 + "]" * 90 + "}", "nested too deep"),
}


@pytest.mark.parametrize("case", NOT_USABLE.values(), ids=NOT_USABLE)
def test_not_usable(case: tuple[str | bytes, str], error_json: Path) -> None:
    content, problem = case
    record = read_text(error_json, content)
    assert record == ErrorRecord({"message": "<NONE>"}, "<NONE>", problem=problem)


def test_an_integer_of_too_many_digits(error_json: Path) -> None:
    record = read_text(error_json, '{"message": "a", "timestamp": ' + "9" * 5000 + "}")
    assert record.problem is not None
    assert record.problem.startswith("not JSON: Exceeds the limit")


@pytest.mark.parametrize(
    "extra",
    [
        None,
        7,
        "x",
        [],
        {"timestamp": None},
        {"timestamp": "soon"},
        {"timestamp": []},
        {"timestamp": True},
        {"timestamp": float("nan")},
        {"timestamp": float("inf")},
        {"timestamp": 1e300},
        {"timestamp": -5},
        {"timestamp": 0},
        {"timestamp_ns": 2**63, "timestamp": "²"},
        {"timestamp_ns": "x", "monotonic_ns": {}, "py_callstack": 3, "exception_type": 4},
        {"monotonic_ns": -1, "py_callstack": ""},
    ],
    ids=repr,
)
def test_wrong_types_beside_the_message_cost_only_themselves(
    extra: object, error_json: Path
) -> None:
    record = read_text(error_json, json.dumps({"message": {"message": "E: x", "extraInfo": extra}}))
    assert summary(record.message) == "E: x"
    assert record.problem is None
    rest = (record.timestamp_ns, record.monotonic_ns, record.traceback, record.exception_type)
    assert rest == (None, None, None, None)


def test_bytes_that_are_not_utf8_are_replaced(error_json: Path) -> None:
    assert read_text(error_json, b'{"message": "caf\xe9"}').message == "caf\ufffd"


def test_a_byte_order_mark_is_no_problem(error_json: Path) -> None:
    assert read_text(error_json, b'\xef\xbb\xbf{"message": "a"}').message == "a"


# --- times ---


@pytest.mark.parametrize(
    ("extra", "mtime_ns", "expected"),
    [
        ({"timestamp": str(NOW)}, None, NOW * SECOND),
        ({"timestamp": NOW}, NOW * SECOND + 7, NOW * SECOND + 7),
        ({"timestamp": str(NOW)}, (NOW + 2) * SECOND + 7, (NOW + 2) * SECOND + 7),
        ({"timestamp": str(NOW)}, (NOW + 60) * SECOND, NOW * SECOND),
        ({"timestamp": str(NOW)}, (NOW - 60) * SECOND, NOW * SECOND),
        ({"timestamp": str(NOW), "timestamp_ns": 99}, NOW * SECOND, 99),
        ({"timestamp": str(NOW), "timestamp_ns": "99"}, NOW * SECOND, 99),
        ({"timestamp": NOW + 0.25}, None, NOW * SECOND),
        ({}, NOW * SECOND, None),
    ],
)
def test_the_time_of_the_failure(
    extra: dict[str, Any], mtime_ns: int | None, expected: int | None
) -> None:
    nested = {"message": {"message": "x", "extraInfo": extra}}
    flat = {"message": "x", **extra}
    assert interpret(nested, mtime_ns).timestamp_ns == expected
    assert interpret(flat, mtime_ns).timestamp_ns == expected


def test_the_file_has_the_digits_that_whole_seconds_lack(error_json: Path) -> None:
    error_json.write_text(json.dumps({"message": "x", "timestamp": NOW}))
    os.utime(error_json, ns=(0, NOW * SECOND + 987_654_321))
    assert read(error_json).timestamp_ns == NOW * SECOND + 987_654_321


# --- what else may lie at the path ---


def test_no_error_file(tmp_path: Path, error_json: Path) -> None:
    error_json.write_text("{}")
    for path in ("", os.devnull, tmp_path, tmp_path / "none", error_json / "below"):
        assert read_error_file(str(path)) is None


def test_a_fifo_is_not_waited_for(error_json: Path) -> None:
    os.mkfifo(error_json)
    assert read(error_json).problem == "not a regular file"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/tty"])
def test_a_device_is_not_read(device: str, error_json: Path) -> None:
    error_json.symlink_to(device)
    problem = read(error_json).problem
    assert problem is not None
    assert problem == "not a regular file" or problem.startswith("unreadable: No such device")


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("error.json")
        assert read(Path("error.json")).problem == "unreadable: No such device or address"


def test_a_loop_of_links(error_json: Path) -> None:
    error_json.symlink_to(error_json)
    assert read(error_json).problem == "unreadable: Too many levels of symbolic links"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(error_json: Path) -> None:
    error_json.write_text("{}")
    error_json.chmod(0)
    assert read(error_json).problem == "unreadable: Permission denied"


def test_a_path_that_cannot_be() -> None:
    assert re.fullmatch("unreadable: .*embedded null .*", read(Path("a\0b")).problem or "")


def test_a_huge_file_is_not_read(error_json: Path) -> None:
    with error_json.open("wb") as file:
        file.truncate(12 << 20)
    assert read(error_json).problem == "too large (12.0 MiB)"


def test_the_largest_file_is_read(error_json: Path) -> None:
    text = json.dumps({"message": "x" * (errorfile.LIMIT - 15)})
    assert len(text) == errorfile.LIMIT
    assert read_text(error_json, text).problem is None
    assert read_text(error_json, text + " ").problem == "too large (8.0 MiB)"


def test_no_descriptor_is_left(error_json: Path) -> None:
    os.mkfifo(error_json)
    before = os.listdir("/proc/self/fd")
    for path in (error_json, error_json.parent):
        read_error_file(str(path))
    assert len(os.listdir("/proc/self/fd")) == len(before)


# --- for every content ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["timestamp", "timestamp_ns", "monotonic_ns", "py_callstack", "exception_type"]
)
EXTRA = JSON | st.dictionaries(KEYS, JSON)
MESSAGE = JSON | st.fixed_dictionaries({}, optional={"message": JSON, "extraInfo": EXTRA})


@given(
    st.fixed_dictionaries({"message": MESSAGE}) | st.dictionaries(st.text(max_size=8), JSON), EXTRA
)
def test_whatever_the_object_the_record_has_its_types(data: dict[str, Any], beside: object) -> None:
    record = interpret(data | (beside if isinstance(beside, dict) else {}), 10**18)
    assert isinstance(record.message, (str, dict))
    assert record.traceback is None or isinstance(record.traceback, str)
    assert record.exception_type is None or isinstance(record.exception_type, str)
    for ns in (record.timestamp_ns, record.monotonic_ns):
        assert ns is None or (type(ns) is int and 0 < ns < 2**63)
    assert isinstance(summary(record.message), str)


@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_bytes_there_is_a_record(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-error.json"
    record = read_text(path, content)
    assert record.problem or json.loads(content)["message"] == record.message


@given(data=st.dictionaries(st.text(max_size=8), JSON), cut=st.floats(0, 1, exclude_max=True))
def test_the_beginning_of_an_object_is_torn(
    data: dict[str, Any], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = json.dumps({"message": "x", **data})
    beginning = text[: int(cut * len(text))].strip()
    assume(beginning)
    path = tmp_path_factory.getbasetemp() / "torn-error.json"
    assert read_text(path, beginning).problem == "torn"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("123 75\n", OwnEnd(123, 75)),
        ("123 75", OwnEnd(123, 75)),
        ("123", None),  # torn
        ("123 0\n", None),
        ("123 256\n", None),
        ("-1 3\n", None),
        ("x y\n", None),
        ("1 2 3\n", OwnEnd(1, 2)),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_the_word_of_who_leaves(text: str, end: OwnEnd | None, tmp_path: Path) -> None:
    (tmp_path / "error.json.exit").write_text(text)
    assert own_end(str(tmp_path / "error.json")) == end


def test_the_word_of_who_raised(tmp_path: Path) -> None:
    path = tmp_path / "error.json"
    said = {"py_callstack": "T", "timestamp": "1", "monotonic_ns": 5, "uncaught": True}
    path.write_text(json.dumps({"message": {"message": "E: x", "extraInfo": said}}))
    (tmp_path / "error.json.exit").write_text("9 3\n")
    assert own_end(str(path)) == OwnEnd(5, 1)
    path.write_text(
        json.dumps({"message": {"message": "E: x", "extraInfo": said | {"uncaught": 0}}})
    )
    assert own_end(str(path)) == OwnEnd(9, 3)
    assert own_end(str(tmp_path / "none")) is None
