"""Claims about `ppmproxy configure`: real clients read what it wrote."""

import os
import shutil
import subprocess
import sys

import pytest
from configured_files import written
from downloads import skip_or_fail

URL = "http://127.0.0.1:7760/pypi/latest/simple/"


def client_environ(home, **more):
    return {"HOME": str(home), "PATH": os.environ["PATH"], **more}


def test_real_pip_reads_what_was_written(person, home):
    written(home, "pip")
    person.runs("configure", "pip")

    end = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True, capture_output=True, text=True, timeout=120, env=client_environ(home),
    )  # fmt: skip

    assert f"global.index-url='{URL}'" in end.stdout
    assert "global.trusted-host='127.0.0.1'" in end.stdout


@pytest.mark.parametrize("project", [(), ("--project",)], ids=["user", "project"])
def test_real_uv_asks_where_it_was_told_to(person, home, project):
    pytest.importorskip("uv")
    from uv import find_uv_bin

    written(home, "poetry")
    written(home, "uv", b'index-url = "http://127.0.0.1:2/"\n[[index]]\nurl = "http://127.0.0.1:3/"\ndefault = true\n')
    person.runs("configure", "uv", *project, "--listen", "127.0.0.1:1")

    end = subprocess.run(
        [find_uv_bin(), "pip", "compile", "--no-cache", "--python", sys.executable, "-"],
        input="idna", check=False, capture_output=True, text=True, timeout=120, cwd=home,
        env=client_environ(home, UV_HTTP_RETRIES="0"),
    )  # fmt: skip

    assert "http://127.0.0.1:1/pypi/latest/simple/idna/" in end.stderr
    assert "127.0.0.1:2" not in end.stderr
    assert "127.0.0.1:3" not in end.stderr


def test_real_r_has_the_repository_and_spares_it_from_forward_proxies(person, home):
    rscript = shutil.which("Rscript") or skip_or_fail("R is not installed", "apt-get install r-base-core")
    written(home, "r", b'options(repos = c(CRAN = "https://old.example.com", own = "https://own.example.com"))\n')
    person.runs("configure", "r")

    program = 'r <- getOption("repos"); cat(paste(names(r), r), Sys.getenv("no_proxy"), sep = "\\n")'
    end = subprocess.run(
        [rscript, "-e", program],
        check=True, capture_output=True, text=True, timeout=120, cwd=home, env=client_environ(home, NO_PROXY="a,b"),
    )  # fmt: skip

    assert end.stdout.splitlines() == [
        "CRAN http://127.0.0.1:7760/cran/latest",
        "own https://own.example.com",
        "a,b,localhost,127.0.0.1",
    ]
