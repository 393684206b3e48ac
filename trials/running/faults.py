"""Faults that end a whole run instead of one trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trials.training.metrics import DIVERGED

if TYPE_CHECKING:
    from trials.running.proposals import Proposal  # loads torch, which --help must not

OUT_OF_MEMORY = "out of GPU memory"
"""First words of the failure of a training whose GPU had too little memory."""
ALONE = ", alone on the card; lower --width or the batch size"
"""Added to that failure if nothing else was running on the GPU."""

COMMON_CAUSE = 3
"""This many failed trials in a row with the same reason stop the run."""


class RunStoppedError(RuntimeError):
    """A run cannot continue. Its finished trials stay. The message is the reason, in one line.

    Args:
        reason: the message.
        says_how_to_go_on: the message names what is safe, or the way out.
    """

    def __init__(self, reason: str, *, says_how_to_go_on: bool = False) -> None:
        super().__init__(reason)
        self.says_how_to_go_on = says_how_to_go_on


def out_of_memory(error: BaseException) -> str | None:
    """The failure that begins with `OUT_OF_MEMORY`; None: the error is a different one.

    Torch's allocator, CUDA itself and its libraries each report a full GPU in their own way.
    """
    import torch  # here, as --help must not load it

    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and ("CUDA error: out of memory" in text or "_STATUS_ALLOC_FAILED" in text)
    ):
        return f"{OUT_OF_MEMORY}: {text[:160].rstrip('.')}"
    return None


@contextmanager
def full_gpu_raises(made: Callable[[str], Exception]) -> Iterator[None]:
    """If a GPU is full within the context, raise another error in place of torch's.

    Args:
        made: makes the error of the reason that `out_of_memory` gives.
    """
    try:
        yield
    except RuntimeError as error:
        if (reason := out_of_memory(error)) is None:
            raise
        raise made(reason) from error


class CommonCause:
    """Concludes trials, and stops the run when all fail for one reason (say, unreadable data).

    A failed trial is concluded only after the next trial has ended in another way. So trials that
    failed for a common reason stay open: they use none of the budget, and a resumed run trains
    them. A training that diverged, or that needs more memory than a GPU has, does not count as a
    failure here: this is a result of the placement.

    Args:
        conclude: called with a trial that has ended, and the reason of its failure or None.
    """

    def __init__(self, conclude: Callable[[Proposal, str | None], None]) -> None:
        self._conclude = conclude
        self._held: list[tuple[Proposal, str]] = []

    def ended(self, proposal: Proposal, failure: str | None) -> None:
        """Record the end of a trial, and the reason of its failure or None.

        Raises:
            RunStoppedError: it is the last of `COMMON_CAUSE` in a row with the same reason.
        """
        if failure is None or failure.startswith((DIVERGED, OUT_OF_MEMORY)):
            self.release()
            self._conclude(proposal, failure)
            return
        if self._held and self._held[-1][1] != failure:
            self.release()
        self._held.append((proposal, failure))
        if len(self._held) == COMMON_CAUSE:
            raise RunStoppedError(f"{COMMON_CAUSE} trials in a row failed the same way: {failure}")

    def release(self) -> None:
        """Conclude the failed trials that are not concluded yet."""
        while self._held:
            self._conclude(*self._held.pop(0))
