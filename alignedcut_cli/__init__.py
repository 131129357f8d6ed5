"""See what vision transformers see, layer by layer and model by model, in one shared feature space."""

__version__ = "0.1.0"

__all__ = ["__version__"]
