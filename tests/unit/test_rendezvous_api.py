"""Rendezvous handlers: parameters, the registry, entry points, where hosts meet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from procession.errors import (
    RendezvousConnectionError,
    RendezvousError,
    RendezvousTimeoutError,
    UsageError,
)
from procession.rendezvous import (
    RendezvousHandler,
    RendezvousHandlerRegistry,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
)
from procession.rendezvous.registry import get_rendezvous_handler
from procession.rendezvous.store import PrefixStore
from procession.rendezvous.utils import parse_rendezvous_endpoint


class Shelf:
    """A store in memory, as far as a rendezvous of one process needs it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def set(self, key: str, value: bytes) -> None:
        self.kept[key] = value

    def get(self, key: str) -> bytes:
        return self.kept[key]


class Alone(RendezvousHandler):
    """A handler as a third party writes one."""

    def __init__(self, params: RendezvousParameters, name: str = "alone") -> None:
        self.params, self.name, self.closed = params, name, False

    def get_backend(self) -> str:
        return self.name

    def next_rendezvous(self) -> RendezvousInfo:
        store = Shelf()
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo.build(0, store, "10.0.0.1", 1234))

    def is_closed(self) -> bool:
        return self.closed

    def set_closed(self) -> None:
        self.closed = True

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self.params.run_id

    def shutdown(self) -> bool:
        return True


def parameters(backend: str = "alone", **settings: Any) -> RendezvousParameters:
    return RendezvousParameters(backend, "host:1", "run", 1, 2, **settings)


def test_a_registered_handler_is_made() -> None:
    registry = RendezvousHandlerRegistry()
    registry.register("alone", Alone)
    registry.register("alone", Alone)
    handler = registry.create_handler(parameters())
    info = handler.next_rendezvous()
    assert (info.rank, info.world_size) == (0, 1)
    assert info.bootstrap_store_info == RendezvousStoreInfo("10.0.0.1", 1234)
    assert not handler.use_agent_store


def test_a_name_is_taken_once() -> None:
    registry = RendezvousHandlerRegistry()
    registry.register("alone", Alone)
    with pytest.raises(ValueError, match="registered already"):
        registry.register("alone", lambda params: Alone(params, "other"))
    with pytest.raises(ValueError, match="by a name"):
        registry.register("", Alone)


def test_a_handler_of_another_name_is_refused() -> None:
    registry = RendezvousHandlerRegistry()
    registry.register("alone", lambda params: Alone(params, "other"))
    with pytest.raises(RuntimeError, match="says that it is one of other"):
        registry.create_handler(parameters())


def test_an_unknown_backend_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"c11d is not registered\. There are .*static"):
        get_rendezvous_handler(parameters("c11d"))


def test_an_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[torchrun.handlers]\nthird = third_party:creator\nbroken = third_party:missing\n"
    )
    (tmp_path / "third_party.py").write_text(
        "def creator():\n"
        "    from test_rendezvous_alone import Alone\n"
        "    return lambda params: Alone(params, 'third')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "test_rendezvous_alone", sys.modules[__name__])
    handler = get_rendezvous_handler(parameters("third"))
    assert handler.get_backend() == "third"
    with pytest.raises(ValueError, match="broken is not registered"):
        get_rendezvous_handler(parameters("broken"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "e", "r", 1, 1), "backend is empty"),
        (("b", "e", "r", 0, 1), "min_nodes is 0: give 1 or more"),
        (("b", "e", "r", 3, 2), "max_nodes is 2: give min_nodes, which is 3"),
    ],
)
def test_parameters_are_checked(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RendezvousParameters(*arguments)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("Yes", True), ("f", False), (1, True), (0, False), (None, None), (True, True)],
)
def test_a_truth_value_is_read(value: Any, expected: bool | None) -> None:
    assert parameters(a=value).get_as_bool("a") is expected


def test_settings_are_checked() -> None:
    params = parameters(a="maybe", n="7", f=1.5)
    assert params.get("a") == "maybe"
    assert params.get_as_int("n") == 7
    assert params.get_as_int("missing", 3) == 3
    for key in ("a", "f"):
        with pytest.raises(ValueError, match="true or false"):
            params.get_as_bool(key)
    with pytest.raises(ValueError, match="whole number"):
        params.get_as_int("a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ("localhost", 29400)),
        ("  ", ("localhost", 29400)),
        ("gpu1", ("gpu1", 29400)),
        ("gpu1:0", ("gpu1", 0)),
        ("[fe80::1]", ("fe80::1", 29400)),
        ("[fe80::1]:80", ("fe80::1", 80)),
        (" 10.0.0.1:65535 ", ("10.0.0.1", 65535)),
    ],
)
def test_an_endpoint_is_read(text: str | None, expected: tuple[str, int]) -> None:
    assert parse_rendezvous_endpoint(text, 29400) == expected


@pytest.mark.parametrize("text", ["host:", "host:65536", "host:-1", "ho/st:1", ":1", "host:x"])
def test_a_wrong_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"rendezvous endpoint {text}: "):
        parse_rendezvous_endpoint(text, 1)


def test_static_says_what_it_lacks() -> None:
    with pytest.raises(UsageError, match="give --node-rank"):
        get_rendezvous_handler(parameters("static"))
    for endpoint in ("", "host"):
        params = RendezvousParameters("static", endpoint, "r", 1, 2, rank=0)
        with pytest.raises(UsageError, match="--master-addr and --master-port"):
            get_rendezvous_handler(params)


def test_static_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "torch.distributed", None)
    handler = get_rendezvous_handler(parameters("static", rank=0))
    with pytest.raises(RendezvousConnectionError, match="torch is not installed here"):
        handler.next_rendezvous()


def test_errors_have_statuses() -> None:
    assert (RendezvousError.exit_code, RendezvousTimeoutError.exit_code) == (69, 75)


class Bare:
    """A store that can do no more than agents need."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def set(self, key: str, value: bytes) -> None:
        self.kept[key] = value

    def get(self, key: str) -> bytes:
        return self.kept[key]


def test_a_prefix_goes_before_the_keys_of_whatever_store() -> None:
    store = Bare()
    view = PrefixStore("b", PrefixStore("a", store))
    view.set("k", b"v")
    assert store.kept == {"a/b/k": b"v"}
    assert view.get("k") == b"v"
