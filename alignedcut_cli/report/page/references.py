"""BibTeX entries of the methods behind the page's artifacts."""

from __future__ import annotations

__all__ = ["BIBTEX"]

BIBTEX = {
    "yang2024alignedcut": """@article{yang2024alignedcut,
  title = {AlignedCut: Visual Concepts Discovery on Brain-Guided Universal Feature Space},
  author = {Yang, Huzheng and Gee, James and Shi, Jianbo},
  journal = {arXiv preprint arXiv:2406.18344},
  year = {2024}
}""",
    "shi2000normalized": """@article{shi2000normalized,
  title = {Normalized Cuts and Image Segmentation},
  author = {Shi, Jianbo and Malik, Jitendra},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {22}, number = {8}, pages = {888--905}, year = {2000}
}""",
    "fowlkes2004nystrom": """@article{fowlkes2004nystrom,
  title = {Spectral Grouping Using the {Nystr\\"om} Method},
  author = {Fowlkes, Charless and Belongie, Serge and Chung, Fan and Malik, Jitendra},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {26}, number = {2}, pages = {214--225}, year = {2004}
}""",
    "maaten2008visualizing": """@article{maaten2008visualizing,
  title = {Visualizing Data using {t-SNE}},
  author = {van der Maaten, Laurens and Hinton, Geoffrey},
  journal = {Journal of Machine Learning Research},
  volume = {9}, pages = {2579--2605}, year = {2008}
}""",
    "zhang2023deciphering": """@article{zhang2023deciphering,
  title = {Deciphering `What' and `Where' Visual Pathways from Spectral Clustering of
    Layer-Distributed Neural Representations},
  author = {Zhang, Xiao and Yunis, David and Maire, Michael},
  journal = {arXiv preprint arXiv:2312.06716},
  year = {2023}
}""",
}
"""An entry by its key."""
