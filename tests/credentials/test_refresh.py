import pytest

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.refresh import MAX_DELAY, MAX_LEAD, BackOff, CachedToken, retry_delay, with_local_expiry

NOW = 1_000_000.0


def credential(expires_at=None, issued_at=None):
    return Credential(Secret("made-up"), "a test", Claims(expires_at=expires_at, issued_at=issued_at))


@pytest.mark.parametrize(
    ("lifetime", "jitter", "ahead"),
    [
        (600, 0.0, 120),  # a fifth of its life
        (3600, 0.0, MAX_LEAD),  # but no more than five minutes
        (3600, 1.0, MAX_LEAD * 1.5),
        (10, 0.0, 2),
    ],
)
def test_a_token_is_refreshed_ahead_of_its_expiry(lifetime, jitter, ahead):
    kept = CachedToken.received(credential(NOW + lifetime), NOW, jitter)

    assert kept.refresh_at == pytest.approx(NOW + lifetime - ahead)
    assert not kept.is_due(NOW + lifetime - ahead - 1)
    assert kept.is_due(NOW + lifetime - ahead)


def test_a_token_without_an_expiry_is_refreshed_only_after_a_rejection():
    assert not CachedToken.received(credential(), NOW, 0.0).is_due(NOW + 10**9)


@pytest.mark.parametrize("wrong_by", [-600.0, 600.0])
def test_a_clock_that_is_ten_minutes_wrong_does_not_change_how_long_a_fresh_token_lives(wrong_by):
    servers_now = NOW - wrong_by

    fresh = with_local_expiry(credential(expires_at=servers_now + 300, issued_at=servers_now), NOW)

    assert fresh.claims.expires_at == NOW + 300


def test_without_an_issue_time_the_tokens_own_expiry_counts():
    assert with_local_expiry(credential(expires_at=NOW + 5), NOW).claims.expires_at == NOW + 5


def test_the_retry_delay_grows_up_to_a_minute():
    pauses = [retry_delay(failures) for failures in range(1, 12)]

    assert pauses == sorted(pauses)
    assert pauses[0] <= 2
    assert pauses[-1] == MAX_DELAY


def test_any_number_of_failures_and_rejections_is_handled():
    assert retry_delay(100_000) == MAX_DELAY
    assert BackOff(NOW, rejections=100_000).retry_at == NOW + MAX_DELAY


def test_the_back_off_of_a_rejected_token_grows():
    rejection, is_backing_off = BackOff(NOW), []
    for _ in range(6):
        is_backing_off.append(
            next(seconds for seconds in range(100) if not rejection.is_backing_off(rejection.rejected_at + seconds))
        )
        rejection = rejection.after_rejection(rejection.rejected_at + 100)

    assert is_backing_off == [5, 10, 20, 40, 60, 60]
    assert BackOff(NOW).retry_at == NOW + 5


def test_rejections_of_concurrent_requests_count_as_one():
    rejection = BackOff(NOW)
    for _ in range(50):
        rejection = rejection.after_rejection(NOW + 0.5)

    assert rejection.rejections == 1


def test_a_clock_that_was_set_back_ends_a_back_off():
    assert not BackOff(NOW).is_backing_off(NOW - 3600)
