from __future__ import annotations

import pytest

pytest.importorskip("xtremeflow.http", reason="libcurl is not installed")
