"""Claims about what lock and requirements files name."""

import pytest

from ppmproxy.clients.locked_files import LockedProject, is_file_of, locked_projects
from ppmproxy.errors import UsageError


def of(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return locked_projects(path)


def test_requirements_with_versions(tmp_path):
    text = "Hello_World[extra] == 1.0 ; os_name == 'x'  # why\n-r other.txt\n\nflask===2\nsix>=1\n-e .\n"

    found = of(tmp_path, "requirements.txt", text)

    assert found.projects == (LockedProject("hello-world", "1.0"), LockedProject("flask", "2"))
    assert found.skipped == ("six",)


@pytest.mark.parametrize("name", ["requirements.txt", "pylock.toml"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, name):
    text = 'packages = [{ name = "six", version = "1", wheels = [{ url = "https://pm.example.com/a.whl" }] }]'

    (found,) = of(tmp_path, name, "\ufeff" + ("six==1" if name == "requirements.txt" else text)).projects

    assert (found.name, found.version) == ("six", "1")


def test_a_uv_lock(tmp_path):
    text = """
        [[package]]
        name = "hello"
        version = "1.0"
        source = { registry = "https://pm.example.com/pypi/latest/simple" }
        sdist = { url = "https://pm.example.com/s.tar.gz" }
        wheels = [{ url = "https://pm.example.com/a.whl" }, { path = "b.whl" }]
        [[package]]
        name = "mine"
        source = { editable = "." }
    """

    (found,) = of(tmp_path, "uv.lock", text).projects

    assert found.urls == ("https://pm.example.com/a.whl", "https://pm.example.com/s.tar.gz")
    assert (found.name, found.index) == ("hello", "https://pm.example.com/pypi/latest/simple")


def test_a_pylock(tmp_path):
    text = '[[packages]]\nname = "hello"\nversion = "1.0"\nwheels = [{ url = "https://pm.example.com/a.whl" }]\n'

    (found,) = of(tmp_path, "pylock.toml", text).projects

    assert (found.name, found.urls) == ("hello", ("https://pm.example.com/a.whl",))


@pytest.mark.parametrize(
    ("name", "text"),
    [("uv.lock", "a = ["), ("uv.lock", "a = " + "[" * 9999), ("uv.lock", "a = 1"), ("missing/uv.lock", None)],
)
def test_what_is_no_lock_is_a_usage_error(tmp_path, name, text):
    with pytest.raises(UsageError):
        of(tmp_path, name, text) if text is not None else locked_projects(tmp_path / name)


@pytest.mark.parametrize(
    ("filename", "is_one"),
    [
        ("hello_world-1.0-py3-none-any.whl", True),
        ("Hello.World-1.0-py3-none-any.whl.metadata", True),
        ("hello-world-1.0.tar.gz", True),
        ("hello_world-1.0.zip", True),
        ("hello_world-1.0.1-py3-none-any.whl", False),
        ("hello-1.0-py3-none-any.whl", False),
        ("hello_world-1.0.txt", False),
        ("hello_world", False),
    ],
)
def test_a_file_belongs_to_a_project_in_a_version(filename, is_one):
    assert is_file_of(filename, LockedProject("hello-world", "1.0")) is is_one
