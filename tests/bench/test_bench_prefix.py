"""The jobs whose prompts share prefixes, in small: one call of each goes ahead."""

from dataclasses import replace

import pytest

from bench.prefix import trace
from bench.prefix.jobs import KINDS, WAYS, main, play
from bench.prefix.plot import _read

AT_ONCE = [kind for kind in KINDS if kind.profile != "deepseek"]  # the second call can read it


@pytest.mark.parametrize("kind", AT_ONCE, ids=lambda kind: kind.profile)
def test_all_calls_but_one_of_each_prefix_find_it(kind):
    result = play(kind.quick, WAYS["prefix="])
    assert result.hits == pytest.approx(1.0, abs=0.01)
    assert result.refused == 0


def test_without_a_word_of_prefixes_calls_that_start_together_all_miss():
    result = play(KINDS[0].quick, WAYS["arrival order"])
    assert (result.hits, result.refused) == (0.0, 0.0)


@pytest.mark.parametrize("kind", AT_ONCE, ids=lambda kind: kind.profile)
def test_prefixes_found_in_the_bodies_are_as_good_as_keys(kind):
    result = play(kind.quick, WAYS['prefix="auto"'])
    assert result.hits == pytest.approx(1.0, abs=0.01)
    assert result.refused == 0


def test_where_only_the_third_call_can_read_a_prefix_none_waits_for_the_first():
    [kind] = [kind for kind in KINDS if kind.profile == "deepseek"]
    found, usual = (play(kind, WAYS[way]) for way in ('prefix="auto"', "arrival order"))
    assert found == usual
    assert found.hits > 0.3


def test_there_a_call_that_ends_with_the_prefix_lets_all_others_read_it():
    [kind] = [kind for kind in KINDS if kind.profile == "deepseek"]
    result, usual = (play(kind, WAYS[way]) for way in ("warm-up", "arrival order"))
    assert result.hits == pytest.approx(1.0)
    assert result.price < 0.6 * usual.price


def test_where_reads_are_free_only_what_is_not_read_takes_time():
    kind = replace(KINDS[2], groups=10, calls=40, tokens={"input_tokens": 50_000.0},
                   limits={"rpm": None, "itpm": 50_000, "otpm": None})  # fmt: skip
    result = play(kind, WAYS["prefix="])
    assert result.of_the_ideal == pytest.approx(1.0, abs=0.05)
    assert result.refused <= 0.005
    assert play(kind, WAYS["arrival order"]).time > 2 * result.time


def test_a_conversation_reads_what_its_earlier_turns_have_written():
    turns = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    rows = [
        {
            "input_length": 512 * len(ids),
            "output_length": 10,
            "hash_ids": [n * 100 + i for i in ids],
        }
        for ids in turns
        for n in range(5)
    ]
    _, unheld = trace.play(rows, trace.WAYS["arrival order"])
    _, hits = trace.play(rows, trace.WAYS['prefix="auto"'])
    assert unheld == 0.0
    assert hits >= 0.4


def test_the_picture_has_a_panel_for_each_kind_of_job(tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["--quick", "--plot", str(tmp_path)]) == 0
    assert (tmp_path / "prefixes.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_picture_shows_when_each_call_has_read():
    reads, end = _read(KINDS[0].quick, WAYS["prefix="])
    assert [round(moment) for moment, _ in reads] == [1, 2, 2, 2]
    assert [tokens > 0 for _, tokens in reads] == [False, True, True, True]
    assert end == pytest.approx(152, abs=1)
