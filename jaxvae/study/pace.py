"""How long a study will still take, as far as can be told while it runs."""

from statistics import fmean


class Pace:
    """The seconds that programs took to compile, and training its part; nothing is known before some of each is done.

    Programs are compiled beside the training, so that what is left is whichever takes longer: the training at its pace,
    or the compilation of the programs that are left, and then the training of the last one.

    Args:
        programs: how many there are.
        at_once: how many are compiled at a time.

    >>> pace = Pace(programs=5, at_once=2)
    >>> pace.compiled(10.0)
    >>> pace.left(share=0.1, spent=2.0)  # four programs more take 20 s, and the last one's training 4 s
    24.0
    """

    def __init__(self, programs: int, at_once: int) -> None:
        self._programs = programs
        self._at_once = at_once
        self._seconds: list[float] = []

    def compiled(self, seconds: float) -> None:
        """Notes what a program took; from any thread."""
        self._seconds.append(seconds)

    def more(self, programs: int) -> None:
        """Notes that there are more programs than was known."""
        self._programs += programs

    def left(self, share: float, spent: float) -> float | None:
        """Seconds; None before any training is done.

        Args:
            share: of the training that is done.
            spent: the seconds that it took, without waiting for programs.
        """
        if share <= 0 or not self._seconds:
            return None
        training = spent / share
        programs = self._programs - len(self._seconds)
        compilation = programs * fmean(self._seconds) / self._at_once + training / self._programs if programs else 0.0
        return max(training * (1 - share), compilation)
