"""Measures XtremeFlow beside its peers: `./dev bench`. The figures are kept in RESULTS.md."""
