"""What the options say of several hosts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession.cli.options.actions import Default, DefaultNumber
from procession.cli.options.taken import Taken
from procession.cli.words import suggestion
from procession.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from procession.cli.options.hub import HubWish
    from procession.cli.options.placement import Placement

BACKENDS = ("static", "c10d", "etcd", "etcd-v2")
_ETCD = {"cacert", "cert", "key", "user", "password", "password_file", "tls", "request_timeout"}
_SERVE = "serve"
_HUB = {"is_host", "listen", "hub_port"}
_TIMES = {"lease", "join_timeout", "timeout", "last_call_timeout"}
# torch's, accepted and of no effect: nothing is polled, and a lease is what tells of a lost host.
_TORCHS = {
    "close_timeout",
    "heartbeat_timeout",
    "is_host",
    "keep_alive_interval",
    "keep_alive_max_attempt",
    "protocol",
    "read_timeout",
    "store_type",
}


class Nodes(NamedTuple):
    """A run over several hosts.

    Attributes:
        least: Hosts without which there is no gang.
        most: Hosts of a gang at most.
        backend: ``static``, ``c10d`` or ``etcd``.
        endpoint: Where etcd is; empty where hosts meet at a hub.
        conf: How etcd is spoken to.
        hub: Where hosts meet that have no etcd, else None.
        node_rank: This host's number, None where it has no wish.
        address: This host's address, empty for that by which it reaches the place of the meeting.
        master_addr: MASTER_ADDR, empty for the address of the host of rank 0.
        master_port: MASTER_PORT, None for one that is free there.
        lease: Seconds after which a host of which nothing is heard is lost.
        join: Seconds that are waited for a gang.
        last_call: Seconds that a first gang waits for more than the least number of hosts.
        serves: The first host starts an etcd for the run.
        found: What of this was not given, but told by a scheduler, in words.
    """

    least: int
    most: int
    backend: str
    endpoint: str
    conf: dict[str, str]
    hub: HubWish | None
    node_rank: int | None
    address: str
    master_addr: str
    master_port: int | None
    lease: int
    join: float
    last_call: float
    serves: bool = False
    found: str = ""

    @property
    def number(self) -> str:
        """How many hosts there are, as a person reads it."""
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


def read_nodes(args: Namespace, placement: Placement | None = None) -> Nodes | None:
    """Read what is said of hosts; None for this one alone.

    Args:
        args: The parsed command line.
        placement: What a scheduler tells; taken where the command line says nothing.

    Raises:
        UsageError: Naming the option.
    """
    nnodes = _nnodes(args, placement)
    least, most = min_max(nnodes)
    if not 0 < least <= most:
        raise UsageError(f"--nnodes {nnodes}: MIN has to be 1 or more, and MAX not below it.")
    if args.rdzv_backend not in BACKENDS:
        near = suggestion(args.rdzv_backend, BACKENDS)
        allowed = ", ".join(BACKENDS)
        raise UsageError(f"--rdzv-backend {args.rdzv_backend}: give one of {allowed}.{near}")
    conf = read_conf(args.rdzv_conf)
    if most == 1 or args.standalone:
        _check_alone(args, most)
        return None
    return _nodes(args, (least, most), conf, placement)


def _nnodes(args: Namespace, placement: Placement | None) -> str:
    """``--nnodes``; where it is not given the number of hosts that each have one process."""
    given = isinstance(args.nnodes, Default) and not args.standalone
    if given and placement is not None and placement.hosts is not None and not placement.crowd:
        return placement.hosts.value
    return str(args.nnodes)


def min_max(nnodes: str) -> tuple[int, int]:
    """The least and the greatest number of ``--nnodes``.

    Raises:
        UsageError: It is neither a number nor ``MIN:MAX``.
    """
    parts = nnodes.split(":")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in {1, 2}:
        raise UsageError(f"--nnodes {nnodes}: give a number of hosts, or MIN:MAX such as 1:4.")
    return numbers[0], numbers[-1]


def _check_alone(args: Namespace, most: int) -> None:
    if most > 1:
        raise UsageError(f"--standalone is for one host, but --nnodes is {args.nnodes}.")
    if args.node_rank != 0:
        raise UsageError(f"--node-rank {args.node_rank}: there is one host, and its rank is 0.")


def _nodes(
    args: Namespace, nnodes: tuple[int, int], conf: dict[str, str], placement: Placement | None
) -> Nodes:
    from procession.cli.options.hub import master, read_hub

    at_etcd = args.rdzv_backend == "etcd"
    _check_conf(args.rdzv_backend, conf, {*_ETCD, _SERVE} if at_etcd else _HUB)
    taken = Taken(placement, nnodes[1])
    rank = _rank(args, taken)
    hub = None if at_etcd else read_hub(args, conf, nnodes, rank, taken)
    if at_etcd:
        _check_etcd(args)
    return Nodes(
        *nnodes,
        args.rdzv_backend,
        args.rdzv_endpoint if at_etcd else "",
        {key: value for key, value in conf.items() if key in _ETCD},
        hub,
        rank,
        args.local_addr or "",
        *master(args, hub),
        lease=int(_seconds(conf, "lease", 5, least=2)),
        join=_seconds(conf, "join_timeout", _seconds(conf, "timeout", 600)),
        last_call=_seconds(conf, "last_call_timeout", 30, least=0),
        serves=conf.get(_SERVE, "0").lower() in {"1", "true", "yes"},
        found=taken.words(own_number=not isinstance(args.nnodes, Default)),
    )


def _rank(args: Namespace, taken: Taken) -> int | None:
    given = args.node_rank
    if isinstance(given, DefaultNumber):
        return taken.rank()
    if given < 0:
        raise UsageError(f"--node-rank {given}: give a number from 0 up.")
    return int(given)


def _check_etcd(args: Namespace) -> None:
    if not args.rdzv_endpoint:
        raise UsageError("--rdzv-endpoint: say where etcd is, such as --rdzv-endpoint gpu1:2379.")
    if args.rdzv_id in {"", "none"}:
        raise UsageError(
            "--rdzv-id: give the run a name, by which its hosts find each other and no others. "
            "Under Slurm that may be $SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}: a job that is requeued is another run."
        )


def _check_conf(backend: str, conf: dict[str, str], known: set[str]) -> None:
    unknown = [key for key in conf if key not in known | _TIMES | _TORCHS]
    if unknown:
        near = suggestion(unknown[0], known | _TIMES)
        raise UsageError(f"--rdzv-conf {unknown[0]}: {backend} knows no such setting.{near}")


def read_conf(text: str) -> dict[str, str]:
    """Read ``--rdzv-conf``.

    Raises:
        UsageError: It is not ``KEY=VALUE``, with commas between.
    """
    pairs = text.strip().split(",") if text.strip() else []
    conf = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not key.strip() or not value.strip():
            # What it says may be a password: it is not repeated.
            raise UsageError(f"--rdzv-conf: {key.strip() or pair!r} is not KEY=VALUE.")
        conf[key.strip()] = value.strip()
    return conf


def _seconds(conf: dict[str, str], key: str, otherwise: float, least: float = 1) -> float:
    text = conf.get(key)
    if text is None:
        return otherwise
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < 10**9:
        raise UsageError(f"--rdzv-conf {key}={text}: give seconds, {least:g} or more.")
    return value
