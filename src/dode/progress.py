"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # (network calls done, network calls in all), a call being one batch
Tick = Callable[[int], None]  # told how many network calls were just made


def counting(progress: Progress | None, total: int) -> Tick:
    """A tick that adds up, and tells progress how many calls of so many were made."""
    done = 0

    def tick(calls: int) -> None:
        nonlocal done
        done += calls
        if progress is not None:
            progress(done, total)

    return tick
