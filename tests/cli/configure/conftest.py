"""A person in a home of their own."""

import os

import pytest
from command_line import Person


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def person(home):
    return Person(home, {"PATH": os.environ["PATH"]})
