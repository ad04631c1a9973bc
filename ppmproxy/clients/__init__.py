"""The configuration of pip, uv and other package installers: read, written and taken back."""
