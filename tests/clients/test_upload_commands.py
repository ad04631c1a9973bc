import pytest

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.upload_commands import is_plain_upload, names_another_host
from ppmproxy.config.model import Settings

LOCAL = "http://127.0.0.1:7760/upload/pypi/internal"
OTHER = "https://other.example.com/legacy/"
URLS = LocalUrls.of_settings(Settings())


@pytest.mark.parametrize(
    ("command", "elsewhere"),
    [
        (["twine", "upload", "--repository-url", OTHER], True),
        (["twine", "upload", f"--repository-url={OTHER}"], True),
        (["sh", "-c", f"twine upload --repository-url '{OTHER}' dist/*"], True),
        (["sh", "-c", f"pip install {OTHER}x.whl; twine upload --repository-url {LOCAL} dist/*"], False),
        (["twine", "upload", "--repository-url", LOCAL], False),
        (["make", "publish"], False),
        ([], False),
    ],
)
def test_a_command_names_another_host_when_all_its_urls_do(command, elsewhere):
    assert names_another_host(command, URLS) is elsewhere


@pytest.mark.parametrize(
    ("command", "is_plain"),
    [
        (["twine", "upload", "dist/x.whl"], True),
        (["/opt/bin/twine", "upload", "-r", "testpypi", "dist/x.whl"], True),
        (["python", "-m", "flit", "publish"], True),
        (["sh", "-c", "uv publish 'dist/x.whl'"], True),
        (["twine", "upload", "--repository-url", LOCAL, "dist/x.whl"], False),
        (["twine", "check", "dist/x.whl"], False),
        (["make", "publish"], False),
        (["bash"], False),
        ([], False),
    ],
)
def test_an_upload_is_plain_when_its_command_names_no_url_of_the_proxy_s(command, is_plain):
    assert is_plain_upload(command, URLS) is is_plain
