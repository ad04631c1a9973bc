"""Claims about each system's own way to trust an authority: it is named where it has an effect, and nowhere else."""

import pytest

from ppmproxy.upstream.system_store import system_store

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n'
UBUNTU = 'ID=pop\nID_LIKE="ubuntu debian"\n'
FEDORA = "ID=fedora\n"
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'
LEAP = 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEBIAN, "/usr/local/share/ca-certificates/ && sudo update-ca-certificates"),
        (UBUNTU, "/usr/local/share/ca-certificates/ && sudo update-ca-certificates"),
        ("ID=alpine\n", "update-ca-certificates"),
        (FEDORA, "/etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust"),
        (ROCKY, "/etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust"),
        (LEAP, "/etc/pki/trust/anchors/"),
        ("ID=arch\n", "trust anchor"),
    ],
)
def test_each_distribution_has_its_own_way(tmp_path, text, words):
    (tmp_path / "os-release").write_text(text)

    assert words in system_store("linux", tmp_path / "os-release").command


def test_macos_and_windows_have_theirs(tmp_path):
    assert "security add-trusted-cert" in system_store("darwin", tmp_path).command
    assert "certutil" in system_store("win32", tmp_path).command


@pytest.mark.parametrize("text", [None, "", "ID=nixos\n", "no such form"])
def test_a_system_that_is_not_known_has_none(tmp_path, text):
    if text is not None:
        (tmp_path / "os-release").write_text(text)

    assert system_store("linux", tmp_path / "os-release") is None


def test_a_python_that_looks_elsewhere_is_not_served_by_the_system_s_command(tmp_path):
    (tmp_path / "os-release").write_text(DEBIAN)
    store = system_store("linux", tmp_path / "os-release")
    (tmp_path / "certs").symlink_to("/etc/ssl/certs")

    assert store.fills(["/nowhere/cert.pem", str(tmp_path / "certs")])
    assert not store.fills(["/opt/conda/ssl/cert.pem", "/opt/conda/ssl/certs"])
    assert system_store("darwin").fills([])
