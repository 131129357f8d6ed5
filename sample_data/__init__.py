"""A small world whose truth is known: scenes, a simulated brain and three tiny vision transformers."""

from pathlib import Path

__all__ = ["MODELS", "SCENES"]

SCENES = Path(__file__).resolve().parent / "scenes"
"""The shipped scenes: images, category, instance, background, names.json."""
MODELS = Path(__file__).resolve().parent / "models"
"""One folder a model, as timm's `local-dir:` reads it."""
