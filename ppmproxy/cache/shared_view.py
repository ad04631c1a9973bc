"""What is shown of the cache's tier that machines share: in `status`, on the page, in metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppmproxy.cache.shared_tier import SharedTier


@dataclass(frozen=True, slots=True)
class SharedView:
    """A tier at one moment."""

    url: str
    mode: str
    trouble: str  # why it is not asked at the moment; "" where it is
    upload_trouble: str
    reads: Mapping[str, int]  # by what became of the blobs that were looked for
    uploads: Mapping[str, int]  # likewise, of those that were offered
    read_bytes: int
    uploaded_bytes: int

    @classmethod
    def of(cls, tier: SharedTier) -> SharedView:
        """A tier as it is now."""
        reads, uploads = tier.reads, tier.uploads
        return cls(
            tier.url,
            tier.mode.value,
            tier.pause.why,
            tier.upload_trouble,
            {
                "hit": reads.hits,
                "miss": reads.misses,
                "wrong": reads.wrong,
                "late": reads.late,
                "failed": reads.failed,
                "skipped": reads.skipped,
            },
            {
                "uploaded": uploads.uploaded,
                "present": uploads.present,
                "failed": uploads.failed,
                "dropped": uploads.dropped,
            },
            reads.read_bytes,
            uploads.uploaded_bytes,
        )

    def document(self) -> dict[str, object]:
        """The view as JSON."""
        return {
            "url": self.url,
            "mode": self.mode,
            "reachable": not self.trouble,
            "trouble": self.trouble,
            "upload_trouble": self.upload_trouble,
            "reads": dict(self.reads),
            "read_bytes": self.read_bytes,
            "uploads": dict(self.uploads),
            "uploaded_bytes": self.uploaded_bytes,
        }
