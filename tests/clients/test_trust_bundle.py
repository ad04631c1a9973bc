"""Claims about the certificates that a command of `exec --intercept` trusts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from ppmproxy.clients.trust_bundle import PREFIX, certificates, trust_files

OWN = trustme.CA(organization_name="the run").cert_pem.bytes().decode()


def pem():
    return trustme.CA().cert_pem.bytes().decode().strip()


def test_it_has_the_run_s_authority_and_the_system_s():
    found = certificates({}, [], OWN)

    assert found[0] == OWN.strip()
    assert len(found) > 1, "this machine has no authorities"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"])
def test_it_has_what_the_person_s_variables_name(variable, tmp_path):
    theirs = pem()
    (tmp_path / "theirs.pem").write_text(f"# Company\n{theirs}\n")

    assert theirs in certificates({variable: str(tmp_path / "theirs.pem")}, [], OWN)


def test_it_has_what_a_folder_of_certificates_has(tmp_path):
    theirs = pem()
    (tmp_path / "a.pem").write_text(theirs)

    assert theirs in certificates({"SSL_CERT_DIR": str(tmp_path)}, [], OWN)


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path):
    (tmp_path / "binary.pem").write_bytes(b"\xff\xfe\x00")

    environ = {"PIP_CERT": str(tmp_path / "missing.pem"), "SSL_CERT_FILE": str(tmp_path / "binary.pem")}

    assert certificates(environ, [tmp_path], OWN)[0] == OWN.strip()


def test_its_files_are_private_and_gone_at_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with trust_files(OWN, {}) as files:
        folder = files.bundle.parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert f"ca_certificate = {files.bundle}" in files.wgetrc.read_text()
        assert OWN.strip() in files.bundle.read_text()

    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_killed_run_left_is_removed_by_the_next(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"{PREFIX}{ended.pid}-abc"
    left.mkdir()
    (left / "ca-bundle.pem").write_text("")
    running = tmp_path / f"{PREFIX}{os.getppid()}-abc"
    running.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    linked = tmp_path / f"{PREFIX}{ended.pid}-link"
    linked.symlink_to(elsewhere)

    with trust_files(OWN, {}):
        pass

    assert not left.exists()
    assert running.exists()
    assert elsewhere.exists()


def test_wget_keeps_the_settings_it_had(tmp_path):
    (tmp_path / "wgetrc").write_text("timeout = 7\n")

    with trust_files(OWN, {"SYSTEM_WGETRC": str(tmp_path / "wgetrc")}) as files:
        text = Path(files.wgetrc).read_text()

    assert text.startswith("timeout = 7\n")
