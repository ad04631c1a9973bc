"""Listening sockets, and which users and programs of this machine may connect."""
