"""Amounts as people read them."""

from __future__ import annotations


def shown(value: float) -> str:
    """Formats an amount: `1,234`, `0.25`; from ten thousand on with three digits: `45.3k`,
    `1.25M`."""
    if value < 0:
        return f"-{shown(-value)}"
    if value < 9999.5:
        return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.2g}"
    for scale, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if value < 999.5 * scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value / 1e9:,.0f}G"
