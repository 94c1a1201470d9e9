"""What the options say of hosts that meet without etcd, at a hub in the agent of one of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession._store.endpoint import Endpoint
from procession.cli.options.actions import Default
from procession.cli.options.settings import endpoint, valid_port
from procession.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from procession.cli.options.taken import Taken

_STATIC_PORT = 29500  # torchrun's
_C10D_PORT = 29400  # torch's
_HOW = (
    "say where the hosts meet, the same on all: --rdzv-backend c10d --rdzv-endpoint HOST:29400, where "
    "HOST is one of them; or --master-addr HOST --master-port PORT and each host's --node-rank, "
    "HOST being that of 0; or --rdzv-backend etcd --rdzv-endpoint HOST:2379 --rdzv-id NAME"
)


class HubWish(NamedTuple):
    """Where hosts meet.

    Attributes:
        place: Where they arrive.
        lends: That is MASTER_ADDR and MASTER_PORT too: the workers get the port while they run.
        serves: The hub is this host's; None: if the address of the place is.
        listen: Address at which it listens, empty for that of the place.
        port: Port at which hosts stay where the first is lent, 0 for a free one.
    """

    place: Endpoint
    lends: bool
    serves: bool | None
    listen: str = ""
    port: int = 0


def read_hub(
    args: Namespace,
    conf: dict[str, str],
    nnodes: tuple[int, int],
    rank: int | None,
    taken: Taken,
) -> HubWish:
    """Read where hosts meet.

    Args:
        args: The parsed command line.
        conf: ``--rdzv-conf``.
        nnodes: The least and the greatest number of hosts.
        rank: This host's number, None where it has none.
        taken: What a scheduler tells of the place, where nothing is given.

    Raises:
        UsageError: Naming the option.
    """
    listen = conf.get("listen", "")
    port = (
        valid_port(_number(conf["hub_port"]), "--rdzv-conf hub_port") if "hub_port" in conf else 0
    )
    if args.rdzv_backend not in {"c10d", "static"}:
        raise UsageError(
            f"--rdzv-backend {args.rdzv_backend}: that protocol of etcd is gone. Give etcd, which "
            "is v3."
        )
    if not args.rdzv_endpoint and not _has_master(args):
        place = taken.first()
        if place is None:
            raise taken.refuse(_text(nnodes), _HOW)
        return HubWish(Endpoint(*place), False, rank == 0, listen, port)
    if args.rdzv_backend == "c10d":
        return HubWish(_c10d_place(args), False, _truth(conf.get("is_host")), listen, port)
    place = _static_place(args)
    _check_static(args, nnodes, rank, place)
    return HubWish(place, True, None if rank is None else rank == 0, listen, port)


def _text(nnodes: tuple[int, int]) -> str:
    least, most = nnodes
    return str(most) if least == most else f"{least}:{most}"


def _has_master(args: Namespace) -> bool:
    return args.rdzv_backend == "static" and not isinstance(args.master_addr, Default)


def master(args: Namespace, hub: HubWish | None) -> tuple[str, int | None]:
    """MASTER_ADDR, empty for the address of the host of rank 0, and MASTER_PORT, None for a free one."""
    if hub is not None and hub.lends:
        return hub.place
    given = args.master_port
    return (
        "" if isinstance(args.master_addr, Default) else str(args.master_addr),
        None if given is None else valid_port(given, "--master-port"),
    )


def _c10d_place(args: Namespace) -> Endpoint:
    text = str(args.rdzv_endpoint).strip()
    if text.endswith("]") or ":" not in text:
        text = f"{text}:{_C10D_PORT}"
    return _endpoint(text, "--rdzv-endpoint")


def _static_place(args: Namespace) -> Endpoint:
    if args.rdzv_endpoint:
        return _endpoint(args.rdzv_endpoint, "--rdzv-endpoint")
    port = _STATIC_PORT if args.master_port is None else args.master_port
    return Endpoint(str(args.master_addr).strip("[]"), valid_port(port, "--master-port"))


def _check_static(
    args: Namespace, nnodes: tuple[int, int], rank: int | None, place: Endpoint
) -> None:
    least, most = nnodes
    if least != most:
        raise UsageError(
            f"--nnodes {args.nnodes}: where hosts meet at MASTER_ADDR:MASTER_PORT their number is "
            f"fixed. Give --nnodes {most}, or --rdzv-backend c10d --rdzv-endpoint {place}."
        )
    if rank is not None and rank >= most:
        raise UsageError(f"--node-rank {rank}: with --nnodes {most} it is from 0 to {most - 1}.")


def _endpoint(text: str, option: str) -> Endpoint:
    host, port = endpoint(text, option)
    return Endpoint(host.removeprefix("[").removesuffix("]"), port)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _truth(text: str | None) -> bool | None:
    return None if text is None else text.lower() in {"1", "true", "t", "yes", "y"}
