import pytest

from ppmproxy.cli.service.systemctl import CommandOutput


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (CommandOutput(1, "said\n", "complained\nof it\n"), "complained of it"),
        (CommandOutput(1, "said\n", ""), "said"),
        (CommandOutput(-11, "", ""), "it ended with exit code -11"),
    ],
)
def test_a_failure_of_systemctl_is_never_reported_without_a_reason(answer, words):
    assert answer.words == words
