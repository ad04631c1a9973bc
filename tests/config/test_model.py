from ppmproxy.config.model import PUBLIC_URL, CredentialSpec, Settings, Upstream


def test_without_any_configuration_the_upstream_is_the_public_one_and_not_configured():
    (upstream,) = Settings().upstreams

    assert (upstream.url, upstream.mount, upstream.configured) == (PUBLIC_URL, "/", False)


def test_no_repr_shows_a_field_that_may_hold_a_secret():
    upstream = Upstream(
        headers=(("X-Key", "s3cret"),),
        proxy="http://user:s3cret@proxy:3128",
        credentials=(CredentialSpec("command", argv=("vault", "s3cret")),),
    )

    assert "s3cret" not in repr(Settings(upstreams=(upstream,)))


def test_the_origin_of_an_upstream_leaves_its_path_out():
    assert str(Upstream(url="https://pm.example.com:8443/rspm").origin) == "https://pm.example.com:8443"
