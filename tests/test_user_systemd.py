import pytest

from ppmproxy.user_systemd import Answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(1, "said\n", "complained\nof it\n"), "complained of it"),
        (Answer(1, "said\n", ""), "said"),
        (Answer(-11, "", ""), "it ended with exit code -11"),
    ],
)
def test_a_failure_of_systemctl_is_never_told_without_a_word(answer, words):
    assert answer.words == words
