"""Random views of a batch of scenes, and the normalisation that a network expects."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["colour_jitter", "normalise", "views"]


def views(images: Tensor, side: int, zoom: tuple[float, float], flip: bool, generator: torch.Generator) -> Tensor:
    """Random square crops of images (B, 3, H, H), each brought to side x side pixels.

    The crop's side is a uniform share `zoom` of H, times at most 1.15 in either direction for its aspect; shares above
    1 reach over the border, which is mirrored.
    """
    count = len(images)
    draw = torch.rand(count, 5, generator=generator)
    share = zoom[0] + (zoom[1] - zoom[0]) * draw[:, 0]
    aspect = torch.exp(0.14 * (2 * draw[:, 1] - 1))
    width, height = share * aspect, share / aspect
    mirror = torch.where(draw[:, 4] < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width * mirror, height
    theta[:, 0, 2] = (1 - width).abs() * (2 * draw[:, 2] - 1)
    theta[:, 1, 2] = (1 - height).abs() * (2 * draw[:, 3] - 1)
    grid = F.affine_grid(theta, [count, 3, side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def colour_jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Images in 0..1 with random brightness, contrast, saturation and channel gains of this relative strength."""
    draw = 1 + strength * (2 * torch.rand(len(images), 6, generator=generator) - 1)
    contrast, saturation = draw[:, 1, None, None], draw[:, 2, None, None]
    mix = saturation * torch.eye(3) + (1 - saturation) / 3  # (B, 3, 3)
    mix = contrast * mix * (draw[:, 0, None] * (1 + 0.4 * (draw[:, 3:] - 1)))[:, None, :]
    pixels = mix @ images.flatten(2)
    centre = pixels.mean((1, 2), keepdim=True) / contrast
    return (pixels + centre * (1 - contrast)).clamp_(0, 1).view(images.shape)


def normalise(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """(images - mean) / std, by channel."""
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
