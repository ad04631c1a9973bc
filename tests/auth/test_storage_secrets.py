"""Claims about the secrets of the object storage that a cache shares: what is masked of them, and what is not."""

import hashlib
import json

import pytest

from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import Secret
from ppmproxy.auth.storage_secrets import storage_secrets, storage_variables

COMMON = ("IQoJb3JpZ2luX2VjEBAaCWV1LWNlbnRyYWwtMSJHMEUCIQ" * 2)[:64]  # of all tokens of a region
SESSION = COMMON + hashlib.sha512(b"one").hexdigest()
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"
GOOGLE = {"type": "service_account", "private_key": PEM, "token_uri": "https://oauth2.googleapis.com/token"}
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": SESSION,
    "AZURE_STORAGE_ACCOUNT_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50u",
    "AZURE_STORAGE_SAS_TOKEN": "?sv=2022-11-02&ss=b&se=2027-01-01T00:00:00Z&sig=s1gnatureOfThisAccount%3D",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=wheels;AccountKey=a2V5LW9mLXRoaXM=;EndpointSuffix=core.windows.net",
    "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(GOOGLE),
}


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("", set()),
        ("file:///mnt/shared", set()),
        ("s3://b", {"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SESSION[64:]}),
        (
            "az://c",
            {"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50u", "s1gnatureOfThisAccount%3D", "a2V5LW9mLXRoaXM="},
        ),
        ("gs://b", {PEM, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"}),
    ],
)
def test_what_is_secret_is_known_for_the_storage_in_use_alone(url, secrets):
    assert set(storage_secrets(ENVIRON, url)) == secrets


@pytest.mark.parametrize("url", ["s3://b", "az://c", "gs://b"])
@pytest.mark.parametrize(
    "location",
    [
        "https://pm.s3.amazonaws.com/f.whl?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261126&X-Amz-Security-Token="
        + COMMON
        + hashlib.sha512(b"another").hexdigest(),
        "https://pm.blob.core.windows.net/f.whl?sv=2022-11-02&ss=b&se=2027-01-01T00:00:00Z&sig=another",
        "https://storage.googleapis.com/pm/f.whl?X-Goog-Algorithm=GOOG4",
    ],
    ids=["S3", "Azure", "Google"],
)
def test_a_package_manager_s_own_presigned_url_in_the_same_storage_passes_unmasked(url, location):
    redactor = Redactor()
    for secret in storage_secrets(ENVIRON, url):
        redactor.add(Secret(secret))

    assert redactor.server_headers([("Location", location)]) == [("Location", location)]


def test_the_names_of_files_are_hidden_from_children_and_not_masked():
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in storage_variables("s3://b")
    assert storage_secrets({"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"}, "s3://b") == []


def test_a_key_that_is_no_json_is_masked_as_it_stands():
    assert storage_secrets({"GOOGLE_SERVICE_ACCOUNT_KEY": "no json"}, "gs://b") == ["no json"]
