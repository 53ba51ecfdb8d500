"""A worker's places: how many instances it may claim next, and of which roles none.

In: whose instances were claimed and which have ended. Out: an `Offer` for the next claim. Claims go by age,
so a role with ten thousand slow instances would have every place for hours. The last eighth is kept for roles
that have less than their share, and the last half of that for roles that have hardly anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """Claim up to `limit` instances; with `but`, none of these roles."""

    limit: int
    but: tuple[int, ...] = ()

    def taken_by(self, claimed: int) -> bool:
        """Whether there may be more to claim at once."""
        return 0 < self.limit == claimed

    def leaves_some(self, claimed: int) -> bool:
        """Whether there may be due instances that were not claimed for want of places."""
        return self.limit <= 0 or bool(self.but) or self.limit == claimed


class Places:
    """Counts the runs of each role, by its OID."""

    def __init__(self, total: int, batch: int) -> None:
        self._total = total
        self._batch = batch
        self._kept = total // 8
        self._runs: Counter[int] = Counter()

    def take(self, role: int) -> None:
        """An instance of this role was claimed."""
        self._runs[role] += 1

    def give_back(self, role: int) -> None:
        """One of its runs is over."""
        self._runs[role] -= 1
        if self._runs[role] <= 0:
            del self._runs[role]

    @property
    def free(self) -> int:
        """Places that anybody may have."""
        return self._total - self._runs.total() - self._kept

    @property
    def worth_a_claim(self) -> bool:
        """Whether so many of them are free that claiming from a backlog pays."""
        return self.free >= max(1, min(self._batch, self._total - self._kept) // 2)

    def offer(self, *, backlog: bool = False) -> Offer:
        """What to claim next; with a `backlog` there is more than there are places."""
        if self.worth_a_claim if backlog else self.free > 0:
            return Offer(min(self.free, self._batch))
        left = self.free + self._kept
        share = self._total // (len(self._runs) + 1)
        most = share if left > self._kept // 2 else min(share, max(1, self._kept // 2))
        crowd = tuple(role for role, count in self._runs.items() if count >= most)
        return Offer(min(left, self._batch), crowd)
