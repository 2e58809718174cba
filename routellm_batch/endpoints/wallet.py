"""A task's part of the hard cap: the worst cost of a call is reserved before it is sent.

Kept at every moment: settled + presumed + reserved ≤ grant. There is no check-then-spend: reserving is one
synchronous step on one event loop.
"""

from __future__ import annotations

import asyncio


class Wallet:
    """What one task may spend, in nano-dollars; lives on one event loop."""

    def __init__(self, grant_nano: int | None) -> None:
        self.grant_nano = grant_nano
        """What the driver lets the task spend; None without a cap."""
        self.settled_nano = 0
        self.presumed_nano = 0
        self.reserved_nano = 0
        self.empty = False
        """Some call could not be paid for."""
        self._changed = asyncio.Event()

    @property
    def left_nano(self) -> int:
        """What is neither spent, presumed spent nor set aside."""
        return (self.grant_nano or 0) - self.settled_nano - self.presumed_nano - self.reserved_nano

    def affords(self, worst_nano: int) -> bool:
        """Whether a call can be paid for, if all that is open costs nothing; if not now, then never."""
        affords = self.grant_nano is None or worst_nano <= self.left_nano + self.reserved_nano
        self.empty = self.empty or not affords
        return affords

    async def reserve(self, worst_nano: int) -> bool:
        """Set a call's worst cost aside, waiting while open calls may still give some back; False if it can't be."""
        while self.grant_nano is not None and worst_nano > self.left_nano:
            if not self.affords(worst_nano):
                return False
            self._changed.clear()
            await self._changed.wait()
        self.reserved_nano += worst_nano
        return True

    def settle(self, worst_nano: int, cost_nano: int) -> None:
        """Put the real cost in place of a reservation."""
        self._free(worst_nano)
        self.settled_nano += cost_nano

    def release(self, worst_nano: int) -> None:
        """Give a reservation back: the call was surely not billed."""
        self._free(worst_nano)

    def presume(self, worst_nano: int) -> None:
        """Book a reservation as spent: whether the call was billed can't be known."""
        self._free(worst_nano)
        self.presumed_nano += worst_nano

    def _free(self, worst_nano: int) -> None:
        self.reserved_nano -= worst_nano
        self._changed.set()


class Reservation:
    """What the sends of one request may cost and did, within a wallet: one worst case at a time.

    Args:
        wallet: what pays.
        worst_nano: the most one send can cost.

    """

    __slots__ = ("_wallet", "_worst_nano", "presumed_nano")

    def __init__(self, wallet: Wallet, worst_nano: int) -> None:
        self.presumed_nano = 0
        """Booked as spent so far, for sends of which nobody knows whether they were billed."""
        self._wallet = wallet
        self._worst_nano = worst_nano

    async def reserve(self) -> bool:
        """Set the worst case of a send aside, waiting while that may yet become possible; False if it can't be paid."""
        return await self._wallet.reserve(self._worst_nano)

    def release(self) -> None:
        """Give it back: nothing was sent, or what was sent was surely not billed."""
        self._wallet.release(self._worst_nano)

    def presume(self) -> None:
        """Book it as spent: whether the send was billed can't be known."""
        self._wallet.presume(self._worst_nano)
        self.presumed_nano += self._worst_nano

    def settle(self, cost_nano: int) -> bool:
        """Put the real cost in its place; returns whether that is more than the worst case."""
        self._wallet.settle(self._worst_nano, cost_nano)
        return cost_nano > self._worst_nano
