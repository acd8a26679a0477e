"""Generate weekly sales of 30 products in 20 shops, for three years up to the last complete week."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

WEEKS, PRODUCTS, SHOPS = 156, 30, 20


def write_sales(file: Path) -> None:
    """Write a row for each product, shop and week: the units sold, the price, and the promotion of the week after."""
    random = np.random.default_rng(2026)
    week, product, shop = (axis.ravel() for axis in np.indices((WEEKS, PRODUCTS, SHOPS)))
    popularity = random.gamma(4, 5, PRODUCTS)
    size = random.uniform(0.5, 2, SHOPS)
    peak = random.integers(0, 52, PRODUCTS)
    price = random.uniform(2, 20, PRODUCTS).round(2)
    is_promoted = random.random((WEEKS + 1, PRODUCTS)) < 0.08
    season = 1 + 0.5 * np.cos(2 * np.pi * (week - peak[product]) / 52)
    growth = 1 + 0.2 * week / 52
    lift = np.where(is_promoted[week, product], 1.8, 1.0)
    units = random.poisson(popularity[product] * size[shop] * season * growth * lift)
    sales = pd.DataFrame(
        {
            "product": [f"P{number:02d}" for number in product],
            "shop": shop + 1,
            "week": np.array(_mondays())[week],
            "units": units,
            "price": np.where(is_promoted[week, product], 0.8, 1.0) * price[product],
            "promoted_next": is_promoted[week + 1, product],
        }
    )
    file.parent.mkdir(exist_ok=True)
    sales.to_parquet(file)


def _mondays() -> list[datetime]:
    today = datetime.now(UTC).date()
    last = today - timedelta(days=today.weekday() + 7)
    return [last - timedelta(weeks=ago) for ago in reversed(range(WEEKS))]
