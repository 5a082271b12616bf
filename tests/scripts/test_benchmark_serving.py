"""The serving benchmark: notes, load, peers that answer as ours does, and what is made of the figures."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest
import torch
import yaml

from clinical_coding.records import Note
from scripts.benchmark_serving_gpu import agreement, gpu_settings
from scripts.benchmark_serving_gpu import run as run_on_gpu
from scripts.benchmark_soak import rows_of
from scripts.options import CONFIGS
from scripts.serving_benchmark.comparison import describe_curve, rows_beside
from scripts.serving_benchmark.curves import best, throughput_at
from scripts.serving_benchmark.equality import check_equal
from scripts.serving_benchmark.load import (
    NO_ANSWER,
    Codes,
    Measured,
    Reply,
    Sent,
    ask_at_random,
    ask_with_clients,
    suggested,
)
from scripts.serving_benchmark.memory import TOTAL, Sample, growth
from scripts.serving_benchmark.note_texts import LEAST_WORDS, MOST_WORDS, mixed_lengths, texts_of
from scripts.serving_benchmark.overhead import measure_overhead
from scripts.serving_benchmark.overload import summarise, words_per_second
from scripts.serving_benchmark.padded_scorer import PaddedScorer
from scripts.serving_benchmark.padding import Computed, computed_in
from scripts.serving_benchmark.peer_wire import Forward, write_codes
from scripts.serving_benchmark.processes import ProcessTree
from scripts.serving_page import PAGE, curve_table, render
from serving.settings import ServingSettings
from training.model import Scorer

OK = Reply(200)


def _level(num_clients: int, notes_per_second: float, p99_seconds: float) -> Measured:
    return Measured(num_clients, 10, notes_per_second, p99_seconds / 2, p99_seconds, 0.1, 1.0, 0, 0, 0)


def _own_tree() -> ProcessTree:
    import psutil

    return ProcessTree(psutil.Process())


def test_lengths_fill_the_logarithmic_scale_whatever_the_seed() -> None:
    lengths = mixed_lengths(60, seed=1)
    assert lengths != mixed_lengths(60, seed=2)
    assert sorted(lengths) == sorted(mixed_lengths(60, seed=2))
    assert LEAST_WORDS <= min(lengths) < 55
    assert 2800 < max(lengths) <= MOST_WORDS
    # Half of a logarithmic scale lies below the geometric mean of its ends.
    assert sum(length < (LEAST_WORDS * MOST_WORDS) ** 0.5 for length in lengths) == 30


def test_texts_have_their_lengths_and_come_again() -> None:
    texts = texts_of([50, 3000, 300], seed=4)
    assert [len(text.split(" ")) for text in texts] == [50, 3000, 300]
    assert texts == texts_of([50, 3000, 300], seed=4)
    assert texts[0] != texts_of([50], seed=5)[0]


def test_throughput_at_equal_p99_lies_on_the_line_between_levels() -> None:
    curve = [_level(1, 4.0, 1.0), _level(2, 6.0, 2.0), _level(4, 7.0, 4.0)]
    assert best(curve).num_clients == 4
    assert throughput_at(curve, 0.9) is None
    assert throughput_at(curve, 1.0) == 4.0
    assert throughput_at(curve, 3.0) == pytest.approx(6.5)
    assert throughput_at(curve, 100.0) == 7.0
    # Where more clients are answered sooner, the later level counts.
    assert throughput_at([_level(1, 4.0, 3.0), _level(2, 8.0, 1.0)], 2.0) == 8.0


def test_ours_stands_beside_a_peer_at_the_p99_of_its_most_notes() -> None:
    ours = [_level(1, 4.0, 1.0), _level(2, 6.0, 2.0)]
    curves = {"peer": [_level(1, 2.0, 1.5), _level(2, 2.5, 2.0)], "faster": [_level(1, 9.0, 0.5)]}
    beside, out_of_reach = rows_beside(ours, curves)
    assert (beside.metric, beside.value, beside.peer, beside.ratio) == (
        "throughput at a p99 of 2.00 s",
        6.0,
        "peer",
        2.4,
    )
    assert out_of_reach.value == 0.0


def test_a_client_asks_again_only_when_it_has_its_answer() -> None:
    at_once, most = 0, 0

    async def ask(text: str) -> Reply:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return OK

    measured = asyncio.run(ask_with_clients(ask, ["a b"] * 12, num_clients=3, tree=_own_tree()))
    assert (most, measured.num_notes) == (3, 12)
    assert 0.01 <= measured.p50_seconds <= measured.p99_seconds
    assert measured.notes_per_second < 3 / 0.01


def test_a_client_that_is_sent_back_comes_again_and_its_wait_counts() -> None:
    replies = iter([Reply(429, retry_after_seconds=0.05), OK, Reply(200, degraded=True)])

    async def ask(text: str) -> Reply:
        return next(replies)

    measured = asyncio.run(ask_with_clients(ask, ["a", "b"], num_clients=1, tree=_own_tree()))
    assert (measured.num_notes, measured.num_sent_back, measured.num_degraded) == (2, 1, 1)
    assert measured.p99_seconds > 0.045


def test_a_note_that_is_not_answered_is_no_throughput() -> None:
    replies = iter([OK, Reply(500)])

    async def ask(text: str) -> Reply:
        return next(replies, Reply(504))

    measured = asyncio.run(ask_with_clients(ask, ["a", "b"], num_clients=1, tree=_own_tree()))
    assert (measured.num_notes, measured.num_failed) == (1, 1)
    with pytest.raises(ValueError, match="504"):
        asyncio.run(ask_with_clients(ask, ["a"], num_clients=1, tree=_own_tree()))


def test_arrivals_wait_for_nobody_and_a_broken_connection_is_counted() -> None:
    calls = 0

    async def ask(text: str) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise httpx.ConnectError("refused")
        await asyncio.sleep(0.3)
        return OK

    began = time.monotonic()
    sent = asyncio.run(ask_at_random(ask, ["a b c"], per_second=100, seconds=0.3, seed=0))
    # One after the other they would take as many times 0.3 s.
    assert time.monotonic() - began < 3
    assert 15 <= len(sent) <= 50
    assert [one.status for one in sent].count(NO_ANSWER) == 1
    assert all(one.num_words == 3 for one in sent)


def test_what_became_of_arrivals_is_counted() -> None:
    sent = [
        Sent(0.0, 2.0, 200, False, 100),
        Sent(0.0, 4.0, 200, True, 300),
        Sent(1.0, 12.0, 200, False, 50),
        Sent(1.0, 1.01, 429, False, 50),
        Sent(1.0, 1.03, 503, False, 50),
        Sent(1.0, 11.0, 504, False, 50),
        Sent(1.0, 1.0, NO_ANSWER, False, 50),
    ]
    found = summarise(sent, deadline_seconds=10.0)
    assert (found.num_sent, found.num_answered, found.num_late, found.num_degraded) == (7, 2, 1, 1)
    assert (found.num_refused, found.num_timed_out, found.num_other) == (2, 1, 1)
    assert (found.notes_per_second, found.words_per_second) == (0.5, 100.0)
    assert found.refusal_p50_seconds == pytest.approx(0.02)
    assert words_per_second(_level(1, 4.0, 1.0), num_words=1000) == 400.0


def test_overhead_is_that_of_the_same_note() -> None:
    async def direct(text: str) -> Reply:
        await asyncio.sleep(0.02 if text == "long" else 0.0)
        return OK

    async def through(text: str) -> Reply:
        await asyncio.sleep(0.01)
        return await direct(text)

    found = asyncio.run(measure_overhead(through, direct, ["long", "short"] * 5, seed=0))
    assert 0.009 < found.p50_of_differences < 0.02
    assert found.p99_of_differences >= found.p50_of_differences


def test_growth_is_a_line_through_the_minutes() -> None:
    samples = [Sample(10.0 * at, {TOTAL: 0}, {TOTAL: 0}, 0) for at in range(60)]
    steady = [100.0 + at // 6 for at in range(60)]
    assert growth(samples, steady, settled_after_seconds=300) == pytest.approx(4.0)
    # One reading that stands out moves no median, and what comes before does not count.
    uneven = [1000.0] * 30 + [200.0] * 30
    uneven[40] = 900.0
    assert growth(samples, uneven, settled_after_seconds=300) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="run longer"):
        growth(samples, steady, settled_after_seconds=590)


def test_the_soak_tells_growth_by_process() -> None:
    samples = [Sample(10.0 * at, {TOTAL: 200 + at, "gateway": 100 + at}, {TOTAL: 9}, 4096) for at in range(24)]
    sent = [Sent(0.0, 1.0, 200, False, 50), Sent(0.0, 1.0, 503, False, 50)]
    rows = {row.metric: row.value for row in rows_of(samples, sent, settled_after_seconds=60)}
    assert rows["growth of memory of gateway"] == pytest.approx(12 / 106)
    assert rows["growth of open files"] == pytest.approx(0.0, abs=1e-9)
    assert rows["growth of /dev/shm"] == pytest.approx(0.0, abs=1e-9)
    assert rows["requests that were not answered"] == 1


def _codes(**confidences: float) -> Codes:
    return {("icd10cm", code): {"confidence": value} for code, value in confidences.items()}


def test_servers_that_answer_otherwise_are_not_compared() -> None:
    expected = [_codes(I10=0.9, E119=0.5)]
    assert check_equal([_codes(I10=0.9004, E119=0.5)], expected, who="peer") == pytest.approx(0.0004)
    assert check_equal([_codes(I10=0.9)], expected, who="gateway", may_withhold=True) == 0.0
    for answers in ([_codes(I10=0.9)], [_codes(I10=0.9, E119=0.5, J45=0.4)], [_codes(I10=0.9, E119=0.52)]):
        with pytest.raises(ValueError, match="peer"):
            check_equal(answers, expected, who="peer")


def test_padding_is_what_was_computed_and_not_read() -> None:
    exposition = (
        "# TYPE chartloop_model_tokens_total counter\n"
        'chartloop_model_tokens_total{model="m",version="1"} 900\n'
        'chartloop_model_tokens_total{model="m",version="2"} 50\n'
        "# TYPE chartloop_model_computed_tokens_total counter\n"
        'chartloop_model_computed_tokens_total{model="m",version="1"} 1000\n'
    )
    now = computed_in(exposition)
    assert now == Computed(950.0, 1000.0)
    assert now.waste_since(Computed(550.0, 500.0)) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="no counter"):
        computed_in("")


def test_the_padded_forward_answers_as_ours_does(tiny_bundle: Path) -> None:
    documents = [[Note(note_id="n", text=text)] for text in texts_of([60, 400, 150], seed=1)]
    ours, padded = Scorer(tiny_bundle), PaddedScorer(tiny_bundle, num_threads=torch.get_num_threads())
    expected = [suggested(write_codes(codes)) for codes in ours.score(documents)]
    assert any(expected)
    together = [suggested(write_codes(codes)) for codes in padded.score(documents)]
    assert check_equal(together, expected, who="padded") < 1e-4
    for document, codes in zip(documents, expected, strict=True):
        [alone] = padded.score([document])
        assert check_equal([suggested(write_codes(alone))], [codes], who="alone") < 1e-4


def test_peers_wrap_the_forward_as_their_servers_ask_for_it(tiny_bundle: Path) -> None:
    from scripts.serving_benchmark.peer_litserve import CodingApi

    text = texts_of([80], seed=1)[0]
    content = {"notes": [{"note_id": "n", "text": text}]}
    expected = write_codes(Scorer(tiny_bundle).score([[Note(note_id="n", text=text)]])[0])
    for size in (1, 4):
        api = CodingApi(tiny_bundle, forward=Forward.FAST, num_threads=1, max_batch_size=size, batch_timeout=0.0)
        api.setup("cpu")
        decoded = api.decode_request(content)
        output = api.predict(decoded) if size == 1 else api.predict([decoded])[0]
        assert json.loads(json.dumps(api.encode_response(output))) == expected


def test_settings_for_a_gpu_leave_nobody_else_to_answer() -> None:
    settings = ServingSettings.model_validate(gpu_settings(yaml.safe_load((CONFIGS / "serving.yaml").read_text())))
    assert (settings.triton.device, settings.fallback.mode) == ("gpu", "off")


def test_agreement_counts_codes_of_both() -> None:
    share, difference = agreement([_codes(I10=0.9, J45=0.3)], [_codes(I10=0.8, E119=0.5)])
    assert (share, difference) == (pytest.approx(1 / 3), pytest.approx(0.1))


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="sees no GPU"):
        run_on_gpu()


def test_each_level_of_each_server_is_a_line_of_the_page() -> None:
    curves = {"peer": describe_curve([_level(1, 2.0, 1.5), _level(16, 2.5, 2.0)])}
    lines = curve_table(curves).splitlines()
    assert lines[2:] == [
        "| peer | 1 | 2 | 0.75 | 1.5 | 10 | 100 | 0 | 0 |",
        "| peer | 16 | 2.5 | 1 | 2 | 10 | 100 | 0 | 0 |",
    ]


def test_the_page_is_that_of_the_results_on_file() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()
