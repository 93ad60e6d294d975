import pytest

from jaxvae.study.pace import Pace


def simulated(programs, at_once, compilation, training):
    """What is left at each tenth of a study whose programs take so long to compile and to train, and what truly was."""
    ready, free = [], [0.0] * at_once  # when each program is, and when each compiler
    for _ in range(programs):
        i = free.index(min(free))
        free[i] += compilation
        ready.append(free[i])
    told, now = [], 0.0
    for program, at in enumerate(ready):
        now = max(now, at)
        for part in range(1, 11):
            now += training / 10
            share, spent = (program + part / 10) / programs, (program + part / 10) * training
            pace = Pace(programs, at_once)
            for _ in [done for done in ready if done <= now]:
                pace.compiled(compilation)
            told.append((share, now, pace.left(share, spent)))
    return [(left, now - at) for share, at, left in told if 0.1 <= share <= 0.9]


@pytest.mark.parametrize(
    ("compilation", "training"), [(10.0, 1.0), (10.0, 5.0), (10.0, 60.0), (0.1, 20.0), (12.0, 8.0)]
)
def test_what_is_left_is_right_within_a_fifth_after_a_tenth(compilation, training):
    for left, truth in simulated(13, 2, compilation, training):
        assert left == pytest.approx(truth, rel=0.2, abs=0.5 * compilation + 0.2 * training)  # or half of a program


def test_nothing_is_known_at_the_start():
    pace = Pace(3, 2)
    assert pace.left(0.5, 1.0) is None
    pace.compiled(5.0)
    assert pace.left(0.0, 0.0) is None


def test_training_alone_is_left_once_all_is_compiled():
    pace = Pace(1, 2)
    pace.compiled(50.0)
    assert pace.left(0.25, 10.0) == 30.0


def test_programs_that_are_added_take_their_time():
    pace = Pace(programs=1, at_once=1)
    pace.compiled(10.0)
    assert pace.left(share=0.5, spent=1.0) == 1.0
    pace.more(2)
    assert pace.left(share=0.5, spent=1.0) == pytest.approx(20.0 + 2.0 / 3)
