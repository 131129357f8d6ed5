"""Exported tables as other programs read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def read(path: Path) -> pd.DataFrame:
    """The file as a data frame, missing text as None."""
    if path.suffix == ".npz":
        with np.load(path) as held:
            frame = pd.DataFrame(dict(held))
    elif path.suffix == ".csv":
        frame = pd.read_csv(path, keep_default_na=False, na_values={"single": [""], "double": [""]})
    else:
        frame = pd.read_parquet(path)
    plain = pd.api.types.is_numeric_dtype
    text = [name for name, column in frame.items() if not plain(column)]
    told = {
        name: pd.Series([None if pd.isna(one) or one == "" else one for one in frame[name]], dtype=object)
        for name in text
    }
    return frame.assign(**told)
