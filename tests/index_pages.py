"""A response that is an index page, whatever its bytes are."""

from ppmproxy.testing.package_manager import Status


def page_answer(body, content_type="text/html", *more):
    return Status(200, None, body, (("Content-Type", content_type), *more))
