"""Readers of responses to images: a subject of Algonauts 2023, or any table with one row per image.

Not here: models fitted to them (core/align, core/encode), and the images themselves (datasets).
"""

from alignedcut_cli.brain.matching import Matching, match_images
from alignedcut_cli.brain.open import find_source, open_responses
from alignedcut_cli.brain.rdm_sets import Rdms
from alignedcut_cli.brain.responses import Responses
from alignedcut_cli.brain.rois import GROUPS
from alignedcut_cli.brain.several import Subject, open_brain

__all__ = [
    "GROUPS",
    "Matching",
    "Rdms",
    "Responses",
    "Subject",
    "find_source",
    "match_images",
    "open_brain",
    "open_responses",
]
