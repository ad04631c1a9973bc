"""Claims about what is shown of the tier that machines share."""

from ppmproxy.cache.shared_view import SharedView

VIEW = SharedView("s3://bucket", "read", "it is down", "", {"hit": 1}, {"uploaded": 2}, 3, 4)


def test_a_tier_that_is_not_asked_is_not_reachable_and_says_why():
    document = VIEW.document()

    assert (document["reachable"], document["trouble"], document["reads"]) == (False, "it is down", {"hit": 1})
