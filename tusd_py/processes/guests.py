"""Who is connected: the parent counts, since no worker sees all connections."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Guest(NamedTuple):
    client: str
    worker: int


class Guests:
    """Connections to the upload port by their numbers. `most` in all, `per_client` from one address (0: no limit)."""

    def __init__(self, most: int, per_client: int) -> None:
        self.most = most
        self.per_client = per_client
        self._guests: dict[int, Guest] = {}
        self._of_client: Counter[str] = Counter()
        self._of_worker: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._guests)

    def has_room(self, client: str) -> bool:
        """Unknown addresses, as on a Unix socket, are not counted by client."""
        if len(self._guests) >= self.most:
            return False
        return not (self.per_client and client and self._of_client[client] >= self.per_client)

    def enter(self, number: int, client: str, worker: int) -> None:
        """It went to that worker; one that is known already went on to another."""
        self.leave(number)
        self._of_client[client] += 1
        self._of_worker[worker] += 1
        self._guests[number] = Guest(client, worker)

    def of(self, worker: int) -> int:
        """How many it has."""
        return self._of_worker[worker]

    def client(self, number: int) -> str:
        return self._guests[number].client if number in self._guests else ""

    def leave(self, number: int) -> None:
        guest = self._guests.pop(number, None)
        if guest is None:
            return
        self._of_worker[guest.worker] -= 1
        self._of_client[guest.client] -= 1
        if not self._of_client[guest.client]:
            del self._of_client[guest.client]

    def desert(self, worker: int) -> None:
        """That worker died, and its connections with it."""
        for number in [number for number, guest in self._guests.items() if guest.worker == worker]:
            self.leave(number)
