"""Claims about the pause of a store that failed."""

from ppmproxy.cache.pause import FIRST, LONGEST, Pause


def test_a_failure_begins_it_and_a_success_ends_it():
    pause = Pause(lambda: 0.0)

    assert (pause.is_on, pause.begin("it is down", "wait"), pause.is_on, pause.why) == (False, True, True, "it is down")
    assert (pause.end(), pause.is_on, pause.end()) == (True, False, False)


def test_failures_of_one_moment_begin_one_pause():
    now = [0.0]
    pause = Pause(lambda: now[0])

    assert [pause.begin("it is down", "wait") for _ in range(30)] == [True] + [False] * 29
    now[0] = FIRST
    assert pause.is_due


def test_it_is_longer_after_each_failure_up_to_a_limit_and_short_again_after_a_success():
    now = [0.0]
    pause = Pause(lambda: now[0])
    lengths = []
    for _ in range(8):
        pause.begin("it is down", "wait")
        began = now[0]
        while not pause.is_due:
            now[0] += 1
        lengths.append(now[0] - began)
    pause.end()
    pause.begin("it is down", "wait")

    assert lengths[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert lengths[-1] == LONGEST
    now[0] += FIRST
    assert pause.is_due
