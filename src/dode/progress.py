"""Reports of progress, in network calls."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # (network calls done, network calls in all), a call being one batch
Tick = Callable[[int], None]  # (network calls just made)


def counting(progress: Progress | None, total: int) -> Tick:
    """A tick that adds up the calls and reports them to progress with their total."""
    done = 0

    def tick(calls: int) -> None:
        nonlocal done
        done += calls
        if progress is not None:
            progress(done, total)

    return tick
