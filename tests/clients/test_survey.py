"""Claims about the survey of the clients' settings: it goes on where it may not look."""

from ppmproxy.clients.survey import python_survey
from ppmproxy.environment import Environment


def test_requirements_of_a_folder_that_cannot_be_read_are_left_out(tmp_path):
    too_long = tmp_path / ("a" * 300)  # the system refuses to look there, root's processes too

    assert python_survey(Environment({"PIP_INDEX_URL": "http://a.example/simple/"}, tmp_path, too_long)).settings
