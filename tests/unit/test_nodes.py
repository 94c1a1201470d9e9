"""What the options say of hosts, and exact words for what cannot be."""

from __future__ import annotations

from argparse import Namespace

import pytest

from procession._membership.model import Member, Round
from procession._store.endpoint import Endpoint
from procession.cli.options.hub import HubWish
from procession.cli.options.nodes import Nodes, read_nodes
from procession.cli.plan.environment import OF_ALL_HOSTS, seat_environments
from procession.cli.run.crew import gang_line, master_address
from procession.errors import RendezvousError, UsageError
from procession.run import parse_args, parse_min_max_nnodes

ETCD = ("--nnodes", "2", "--rdzv-backend", "etcd", "--rdzv-endpoint", "h:1", "--rdzv-id", "job")
C10D = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "gpu1")
HOW = (
    "say where the hosts meet, the same on all: --rdzv-backend c10d --rdzv-endpoint HOST:29400, where "
    "HOST is one of them; or --master-addr HOST --master-port PORT and each host's --node-rank, HOST "
    "being that of 0; or --rdzv-backend etcd --rdzv-endpoint HOST:2379 --rdzv-id NAME."
)


def parsed(*words: str) -> Namespace:
    return parse_args([*words, "s.py"])


def said(error: pytest.ExceptionInfo[UsageError]) -> str:
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", (1, 1)), ("1:1", (1, 1)), ("2:4", (2, 4)), ("4", (4, 4))]
)
def test_nnodes(text: str, expected: tuple[int, int]) -> None:
    assert parse_min_max_nnodes(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1:", "1:2:3", "1-2"])
def test_nnodes_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_min_max_nnodes(text)
    assert said(caught) == f"--nnodes {text}: give a number of hosts, or MIN:MAX such as 1:4."


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--nnodes", "1"),
        ("--nnodes", "1:1"),
        ("--standalone",),
        ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"),
        ("--rdzv-backend", "etcd-v2", "--rdzv-conf", "a=1, b = 2"),
        ("--node-rank", "0", "--master-port", "29500"),
    ],
)
def test_one_node(words: tuple[str, ...]) -> None:
    assert read_nodes(parsed(*words)) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nnodes", "0"), "--nnodes 0: MIN has to be 1 or more, and MAX not below it."),
        (("--nnodes", "3:2"), "--nnodes 3:2: MIN has to be 1 or more, and MAX not below it."),
        (("--node-rank", "1"), "--node-rank 1: there is one host, and its rank is 0."),
        (
            ("--rdzv-backend", "c10"),
            "--rdzv-backend c10: give one of static, c10d, etcd, etcd-v2. Did you mean c10d?",
        ),
        (("--rdzv-conf", "a=1,b"), "--rdzv-conf: 'b' is not KEY=VALUE."),
        (("--rdzv-conf", "=1"), "--rdzv-conf: '=1' is not KEY=VALUE."),
        (("--standalone", "--nnodes", "2"), "--standalone is for one host, but --nnodes is 2."),
        (("--nnodes", "2"), f"--nnodes 2: {HOW}"),
        (("--nnodes", "2", *C10D[:-2]), f"--nnodes 2: {HOW}"),
        (
            ("--nnodes", "2", "--rdzv-backend", "etcd-v2"),
            "--rdzv-backend etcd-v2: that protocol of etcd is gone. Give etcd, which is v3.",
        ),
        (
            ("--nnodes", "1:2", "--master-addr", "gpu1"),
            "--nnodes 1:2: where hosts meet at MASTER_ADDR:MASTER_PORT their number is fixed. Give "
            "--nnodes 2, or --rdzv-backend c10d --rdzv-endpoint gpu1:29500.",
        ),
        (
            ("--nnodes", "2", "--master-addr", "gpu1", "--node-rank", "2"),
            "--node-rank 2: with --nnodes 2 it is from 0 to 1.",
        ),
        (
            ("--nnodes", "2", *C10D, "--rdzv-conf", "cacert=x"),
            "--rdzv-conf cacert: c10d knows no such setting.",
        ),
        (
            ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "gpu1:x"),
            "--rdzv-endpoint gpu1:x: give HOST:PORT, such as 127.0.0.1:29500.",
        ),
        (
            ("--nnodes", "2", *C10D, "--rdzv-conf", "hub_port=x"),
            "--rdzv-conf hub_port 0: a port is a number from 1 to 65535.",
        ),
        (
            ("--nnodes", "2", "--rdzv-backend", "etcd"),
            "--rdzv-endpoint: say where etcd is, such as --rdzv-endpoint gpu1:2379.",
        ),
        (
            (*ETCD[:-2],),
            "--rdzv-id: give the run a name, by which its hosts find each other and no others. "
            "Under Slurm that may be $SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}: a job that is requeued is another run.",
        ),
        ((*ETCD, "--node-rank", "-1"), "--node-rank -1: give a number from 0 up."),
        (
            (*ETCD, "--rdzv-conf", "leese=3"),
            "--rdzv-conf leese: etcd knows no such setting. Did you mean lease?",
        ),
        ((*ETCD, "--rdzv-conf", "lease=1"), "--rdzv-conf lease=1: give seconds, 2 or more."),
        (
            (*ETCD, "--rdzv-conf", "join_timeout=x"),
            "--rdzv-conf join_timeout=x: give seconds, 1 or more.",
        ),
    ],
)
def test_what_one_node_cannot_have(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_nodes(parsed(*words))
    assert said(caught) == message


def test_several_nodes() -> None:
    words = (*ETCD, "--nnodes", "2:4", "--node-rank", "0", "--local-addr", "10.0.0.1")
    conf = "lease=7,timeout=9,last_call_timeout=0,cacert=ca.pem,close_timeout=3"
    assert read_nodes(parsed(*words, "--rdzv-conf", conf)) == Nodes(
        2, 4, "etcd", "h:1", {"cacert": "ca.pem"}, None, 0, "10.0.0.1", "", None, 7, 9.0, 0.0
    )


def test_defaults_of_several_nodes() -> None:
    nodes = read_nodes(parsed(*ETCD))
    assert nodes == Nodes(2, 2, "etcd", "h:1", {}, None, None, "", "", None, 5, 600.0, 30.0)


@pytest.mark.parametrize(
    ("words", "hub", "address", "port"),
    [
        (C10D, HubWish(Endpoint("gpu1", 29400), False, None), "", None),
        (
            (*C10D, "--rdzv-endpoint", "[::1]:5", "--rdzv-conf", "is_host=1,listen=::"),
            HubWish(Endpoint("::1", 5), False, True, "::"),
            "",
            None,
        ),
        ((*C10D, "--master-port", "7"), HubWish(Endpoint("gpu1", 29400), False, None), "", 7),
        (("--master-addr", "a"), HubWish(Endpoint("a", 29500), True, None), "a", 29500),
        (
            ("--master-addr", "a", "--master-port", "7", "--node-rank", "0"),
            HubWish(Endpoint("a", 7), True, True),
            "a",
            7,
        ),
        (
            ("--rdzv-endpoint", "a:8", "--node-rank", "1", "--rdzv-conf", "hub_port=9"),
            HubWish(Endpoint("a", 8), True, False, "", 9),
            "a",
            8,
        ),
    ],
)
def test_where_hosts_meet_without_etcd(
    words: tuple[str, ...], hub: HubWish, address: str, port: int | None
) -> None:
    nodes = read_nodes(parsed("--nnodes", "2", *words))
    assert nodes is not None
    assert (nodes.hub, nodes.master_addr, nodes.master_port) == (hub, address, port)


SEATS = (Member("a", "a", 1, 2, address="10.0.0.1"), Member("b", "b", 2, 3, address="10.0.0.2"))


def test_ranks_go_on_from_host_to_host() -> None:
    found = seat_environments(Round(0, SEATS), 1, "addr")
    assert [env["RANK"] for env in found.values()] == ["2", "3", "4"]
    assert {env["WORLD_SIZE"] for env in found.values()} == {"5"}
    assert found[2] == {
        "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "2",
        "MASTER_ADDR": "addr",
        "RANK": "4",
        "ROLE_RANK": "4",
        "ROLE_WORLD_SIZE": "5",
        "WORLD_SIZE": "5",
    }


def test_what_is_of_all_hosts_is_named() -> None:
    assert set(seat_environments(Round(0, SEATS), 0, "addr")[0]) == set(OF_ALL_HOSTS)


def test_a_gang_is_told() -> None:
    assert (
        gang_line(Round(3, SEATS), 1) == "gang 3: 2 hosts, 5 workers; b is host 1, with ranks 2-4"
    )


def test_an_address_that_others_cannot_reach_is_refused() -> None:
    assert master_address(Round(0, SEATS)) == "10.0.0.1"
    here = SEATS[0]._replace(address="127.0.1.1")
    assert master_address(Round(0, (here, here))) == "127.0.1.1"
    with pytest.raises(RendezvousError, match=r"a is known as 127\.0\.1\.1, .* give --local-addr"):
        master_address(Round(0, (here, SEATS[1])))
