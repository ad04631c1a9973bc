"""Upstreams and mounts, and the URL that a target leads to."""

from ppmproxy.config.model import Upstream
from ppmproxy.index.routing import target_of

PM = Upstream(url="https://pm.example.com", configured=True)


def kind_of(raw_target, method="GET", upstream=PM):
    return target_of(method, raw_target, (upstream,)).kind
