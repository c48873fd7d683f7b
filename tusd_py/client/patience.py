"""How long to wait before the next try. Pure: chance comes in as a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """`retries` in a row without a byte of progress, then the upload fails; pauses and silence are seconds.

    Pauses double from `first` to `most`. Half of each is left to chance, so that a thousand clients that lost the same
    server do not all come back in the same moment.
    """

    retries: int = 10
    first: float = 0.25
    most: float = 30.0
    longest_asked: float = 300.0  # a Retry-After beyond it is taken for a mistake
    silence: float = 60.0  # without a byte leaving or an answer coming; finishing a large file may take its time

    def pause(self, failures: int, chance: float, asked: float | None = None) -> float | None:
        """Seconds to wait after so many failures in a row (from 1), `chance` in [0, 1); None when there were enough.

        Never shorter than the server asked for (Retry-After).
        """
        if failures > self.retries:
            return None
        ceiling = min(self.most, self.first * 2.0 ** min(failures - 1, 64))
        return min(asked or 0.0, self.longest_asked) + ceiling * (0.5 + chance / 2)
