"""Stores of blobs besides this machine's own disk: a bucket, or a folder on a shared volume."""
