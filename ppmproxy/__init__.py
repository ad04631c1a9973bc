"""A local authenticating proxy for Posit Package Manager.

Eleven rooms and three modules below them. An arrow points only down; rooms on one line do not know each other
(``make lint`` checks it, by import-linter's contracts in pyproject.toml).

  cli                              what a person types: one module a command, with cli/doctor and cli/service
  server │ clients │ testing       requests and the daemon's life │ pip, uv and others: their files │ a fake server
  cache                            what was fetched before, verified, and who may have it
  credentials                      where tokens come from, when they are renewed, how a person signs in
  access │ upstream                who on this machine may connect │ HTTP to the Package Manager
  index                            the URL map between client and upstream, in requests and in pages
  config                           four layers of settings into one checked object
  auth                             what a token is, where it may go, how it is kept out of everything else (no I/O)
  errors, environment, files       every error a person can cause │ variables and folders │ files read and replaced

A request: access.listeners → server.connection → server.dispatcher → index.routing → server.handler, whose work looks
up the credential (credentials.chain), fetches (cache.fetcher, server.authenticated_send, upstream.client) and prepares
the response (index.page); server.delivery sends it.
A token: found by credentials, known to auth.redaction before anybody else sees it, put on the wire by auth.policy.
"""
