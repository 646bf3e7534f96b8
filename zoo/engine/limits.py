"""How much one visitor, one address and all together may ask of a machine at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from zoo.errors import BusyError, RequestError

if TYPE_CHECKING:
    from zoo.engine.job import Job


@dataclass(frozen=True)
class Limits:
    """Jobs in flight and in the queue, of all, of a visitor and of an address (loopback has no limits of its own), and their cost."""

    flying: int = 16
    """Jobs that take turns at once; quick ones, such as a look at one step, and downloads have as many places of their own."""
    waiting: int = 200
    visitor_flying: int = 2
    visitor_waiting: int = 8
    address_flying: int = 6
    address_waiting: int = 32
    seconds: float | None = None
    """That one request may take, by measured steps; None: any."""
    requests_minute: int | None = None
    """Of a visitor within a minute; None: any. See zoo.engine.allowances."""
    pictures_day: int | None = None
    """Of a visitor within 24 hours, each frame of a clip being one; None: any."""
    loopback: bool = False
    """Whether this machine's own visitors are counted and limited by their address like others."""

    def admits(self, job: Job, flying: Sequence[Job]) -> bool:
        """Whether a job may begin beside those in flight."""
        flying = [one for one in flying if one.lane == job.lane]
        return (
            len(flying) < self.flying
            and _of_account(job, flying) < self.visitor_flying
            and (self.counts_not(job) or _of_address(job, flying) < self.address_flying)
        )

    def counts_not(self, job: Job) -> bool:
        """Whether the address of a job has no limits of its own: there is none, or it is this machine's."""
        return is_local(job.address) and not (self.loopback and job.address)

    def check_cost(self, job: Job) -> None:
        """Raise RequestError where a job takes more than one request may."""
        if self.seconds is not None and job.seconds is not None and job.seconds > self.seconds:
            raise RequestError(
                f"This would take about {job.seconds:.0f} s of computing, and one request may take {self.seconds:.0f} s here: "
                "choose fewer images, frames or steps."
            )

    def check(self, job: Job, waiting: Sequence[Job], flying: Sequence[Job], seconds_for: Callable[[Sequence[Job]], float | None]) -> None:
        """Raise RequestError where a job asks for too much, BusyError where it cannot even wait."""
        self.check_cost(job)
        if self.admits(job, flying):
            return
        for count, limit, whose in (
            (_of_account(job, waiting), self.visitor_waiting, " of yours"),
            (0 if self.counts_not(job) else _of_address(job, waiting), self.address_waiting, " of your address"),
            (len(waiting), self.waiting, ""),
        ):
            if count >= limit:
                seconds = seconds_for([*flying, *waiting])
                when = "" if seconds is None else f" in about {max(1, round(seconds))} s"
                raise BusyError(f"{count} requests{whose} wait already, and no more are taken: try again{when}.", seconds)


def _of_account(job: Job, others: Sequence[Job]) -> int:
    return sum(one.account == job.account for one in others)


def _of_address(job: Job, others: Sequence[Job]) -> int:
    return sum(network(one.address) == network(job.address) for one in others)


@lru_cache(4096)
def is_local(address: str) -> bool:
    """Whether an address is of this machine, or there is none."""
    return not address or (not isinstance(number := _number(address), str) and number.is_loopback)


@lru_cache(4096)
def network(address: str) -> str:
    """An address as whose it is counted: one of IPv6 is its network's, for whoever has one has 2^64."""
    number = _number(address)
    return str(IPv6Address(int(number) >> 64 << 64) if isinstance(number, IPv6Address) else number)


def _number(address: str) -> IPv4Address | IPv6Address | str:
    """An address as a number, one of IPv4 written as IPv6 as what it is; a name that a proxy gave as it stands."""
    try:
        number = ip_address(address)
    except ValueError:
        return address[:100]
    return getattr(number, "ipv4_mapped", None) or number
