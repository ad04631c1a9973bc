"""Claims about the image with the extra for buckets: it reads what another container has put into one."""

import shutil
from pathlib import Path

import pytest
from container_setup import INDEX, SIX
from downloads import MAY_DOWNLOAD
from engine import IMAGE, WITH_BUCKETS

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

URL = "s3://wheels/team"
LARGEST = 140_000_000  # bytes
BUCKET = (
    "--env=AWS_ENDPOINT_URL=http://bucket:9000",
    "--env=AWS_ACCESS_KEY_ID=a",
    "--env=AWS_SECRET_ACCESS_KEY=b",
    f"--env=PPMPROXY_CACHE_URL={URL}",
    "--env=PPMPROXY_CACHE_URL_TIMEOUT=30s",
    "--tmpfs=/var/cache/ppmproxy:uid=65532",
)
SHARED = 'ppmproxy_cache_requests_total{result="shared"}'


@pytest.fixture(scope="module")
def bucket(setup, tmp_path_factory):
    """The name of a container that is a bucket."""
    folder = tmp_path_factory.mktemp("bucket")
    folder.chmod(0o755)
    shutil.copy(Path(__file__).with_name("contained_bucket.py"), folder)
    program = ["--entrypoint=python", "--network", setup.network, "--volume", f"{folder}:/bucket:ro"]
    with setup.engine.container("bucket", *program, IMAGE, "/bucket/contained_bucket.py") as name:
        setup.engine.until(lambda: setup.engine.events(name, "serving"), name)
        yield name


def test_it_is_hardly_larger(engine):
    assert int(engine.inspect(WITH_BUCKETS, "{{.Size}}")) < LARGEST


def test_a_second_container_gets_the_files_of_the_first_from_the_bucket(setup, bucket):
    install = f"pip install -qi {INDEX} six && python -c '{SIX}'"
    with setup.proxy("first", *BUCKET, image=WITH_BUCKETS) as first:
        setup.job(install, f"--network=container:{first}")
        setup.engine.until(lambda: len(uploaded(setup, bucket)) == 2, first)  # the wheel and its metadata
    with setup.proxy("second", *BUCKET, image=WITH_BUCKETS) as second:
        setup.job(install, f"--network=container:{second}")
        metrics = setup.job("curl -s http://127.0.0.1:7760/-/metrics", f"--network=container:{second}").out

    assert f"{SHARED} 2.0" in metrics.splitlines()
    assert all("/wheels/team/sha256/" in path for path in uploaded(setup, bucket))


def test_without_the_extra_it_says_which_one_is_missing(setup):
    ran = setup.engine.docker("run", "--rm", "--network=none", *BUCKET, IMAGE, check=False)

    assert ran.code == 3
    assert "needs the extra shared-cache" in ran.said


def uploaded(setup, bucket):
    return {asked["path"] for asked in setup.engine.events(bucket, "asked") if asked["method"] == "PUT"}
