"""The jobs whose prompts share prefixes, in small: one call of each goes ahead."""

import pytest

from bench.prefix.jobs import KINDS, WAYS, play


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.profile)
def test_all_calls_but_one_of_each_prefix_find_it(kind):
    result = play(kind.quick, WAYS["prefix="])
    assert result.hits == pytest.approx(1.0, abs=0.01)
    assert result.refused == 0


def test_without_a_word_of_prefixes_calls_that_start_together_all_miss():
    result = play(KINDS[0].quick, WAYS["arrival order"])
    assert (result.hits, result.refused) == (0.0, 0.0)
