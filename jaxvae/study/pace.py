"""An estimate of the time that a running study still needs."""

from statistics import fmean


class Pace:
    """An estimate of the time left, from the times of compilation and training so far.

    Programs are compiled while others train. The time left is therefore the longer of two: the rest of the training at
    its pace; or the rest of the compilation, followed by the training of the last program.

    Args:
        programs: the number of programs.
        at_once: the number of programs that are compiled at a time.

    >>> pace = Pace(programs=5, at_once=2)
    >>> pace.compiled(10.0)
    >>> pace.left(share=0.1, spent=2.0)  # four more programs take 20 s, and the last one's training 4 s
    24.0
    """

    def __init__(self, programs: int, at_once: int) -> None:
        self._programs = programs
        self._at_once = at_once
        self._seconds: list[float] = []

    def compiled(self, seconds: float) -> None:
        """Notes the compilation time of a program; any thread may call it."""
        self._seconds.append(seconds)

    def more(self, programs: int) -> None:
        """Notes that there are more programs than were known."""
        self._programs += programs

    def left(self, share: float, spent: float) -> float | None:
        """Returns the seconds left, or None before any program is compiled and any training is done.

        Args:
            share: the share of the training that is done.
            spent: the seconds that it took, without the time spent waiting for programs.
        """
        if share <= 0 or not self._seconds:
            return None
        training = spent / share
        programs = self._programs - len(self._seconds)
        compilation = programs * fmean(self._seconds) / self._at_once + training / self._programs if programs else 0.0
        return max(training * (1 - share), compilation)
