"""Names of files that people write in more than one way."""

from __future__ import annotations

import unicodedata

__all__ = ["same_form"]


def same_form(name: str) -> str:
    """A name in Unicode's composed form (NFC): names that look alike are equal. macOS writes decomposed ones (NFD)."""
    return unicodedata.normalize("NFC", name)
