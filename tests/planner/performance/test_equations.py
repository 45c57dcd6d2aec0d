"""Each term of the performance model: its units, by a hand calculation, and the direction in which it moves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.performance import equations

SIZES = st.floats(min_value=1, max_value=1e6)
FRACTIONS = st.floats(min_value=0.05, max_value=1)


def test_weights_of_70_gb_over_a_v100_take_78_ms():
    assert equations.weights_read_s(70e9, 1, 900e9, 1.0) == pytest.approx(0.0778, rel=1e-3)


def test_kv_of_16_sequences_of_1000_tokens_in_llama_3_70b_on_one_of_four_gpus():
    per_token = 80 * 2 * 8 * 128 * 2  # bytes
    assert equations.kv_read_s(16 * 1000, per_token, 1 / 4, 3350e9, 0.5) == pytest.approx(16_000 * per_token / 4 / 1675e9)


def test_matmul_reaches_half_its_peak_fraction_at_the_half_tokens():
    far = equations.matmul_s(1e9, 1e9, 1, 1e15, 0.6, 100) / 1e9
    assert equations.matmul_s(1e9, 100, 1, 1e15, 0.6, 100) / 100 == pytest.approx(2 * far, rel=1e-6)


def test_one_gpu_reduces_nothing_and_one_stage_passes_nothing_on():
    assert equations.all_reduce_s(160, 1e6, 1, 0, 1e-5, 450e9, 0.5) == 0
    assert equations.pipeline_transfer_s(1, 1e6, 1e-5, 450e9, 0.5) == 0


def test_all_reduce_of_8_mb_over_4_gpus_is_bounded_by_its_share_of_the_link():
    share = 2 * 3 / 4 * 8e6 / (450e9 * 0.5)
    assert equations.all_reduce_s(1, 8e6, 4, 2, 0.0, 450e9, 0.5) == pytest.approx(share)


def test_a_dense_model_is_one_expert_that_is_always_read():
    assert equations.experts_touched(1, 1, 1.0, 0.7) == 1
    assert equations.experts_touched(1, 1, 64.0, 0.7) == 1


@given(tokens=SIZES, skew=FRACTIONS)
def test_a_batch_reads_between_the_chosen_experts_and_all_of_them(tokens, skew):
    touched = equations.experts_touched(128, 8, tokens, skew)
    assert 8 <= touched <= 128
    assert equations.experts_touched(128, 8, tokens + 1, skew) >= touched


@given(first=SIZES, second=SIZES)
def test_overlap_takes_no_less_than_the_longer_and_no_more_than_both(first, second):
    assert max(first, second) * (1 - 1e-9) <= equations.overlapped_s(first, second, 2.0) <= first + second


@given(first=SIZES, second=SIZES)
def test_smaller_and_larger_without_a_branch(first, second):
    assert equations.smaller(first, second) == pytest.approx(min(first, second), abs=1e-9)
    assert equations.larger(first, second) == pytest.approx(max(first, second), abs=1e-9)


@given(bytes_=SIZES, gpus=st.integers(1, 64), achieved=FRACTIONS)
def test_more_gpus_or_more_bandwidth_never_read_slower(bytes_, gpus, achieved):
    slow = equations.weights_read_s(bytes_, gpus, 1e3, achieved)
    assert equations.weights_read_s(bytes_, gpus + 1, 1e3, achieved) < slow
    assert equations.weights_read_s(bytes_, gpus, 2e3, achieved) == pytest.approx(slow / 2)


@given(weights=st.floats(0, 200e9), more=st.floats(1e6, 20e9))
def test_heavier_weights_leave_less_room_for_the_cache_but_never_none(weights, more):
    def room(bytes_):
        return equations.kv_capacity_tokens(80e9, 0.9, bytes_, 1, 2e9, 1e5, 1.0, 1)

    assert 0 < room(weights + more) <= room(weights)


@given(concurrency=SIZES, capacity=SIZES, each=SIZES)
def test_no_more_run_than_ask_or_fit(concurrency, capacity, each):
    running = equations.running_sequences(concurrency, capacity, each)
    assert running >= 1
    assert running <= max(1, concurrency) * (1 + 1e-9)
    assert running <= max(1, capacity / each) * (1 + 1e-9)


@given(concurrency=st.floats(1, 500), more=st.floats(0.1, 500))
def test_a_longer_queue_waits_longer_and_one_request_does_not_wait(concurrency, more):
    assert equations.queue_s(0.1, equations.prefill_busy(1, 0.1, 5.0), 0.5, 0.8) == 0
    longer, shorter = (equations.queue_s(0.1, equations.prefill_busy(n, 0.1, 5.0), 0.5, 0.8) for n in (concurrency + more, concurrency))
    assert longer > shorter
    assert equations.interference_s(0.1, concurrency + more, 100, 0.8) > equations.interference_s(0.1, concurrency, 100, 0.8)


def test_a_burst_of_10_waits_for_half_of_the_9_others():
    assert equations.burst_wait_s(10, 2.0, 1.0) == pytest.approx(0.5 * 9 * 0.2)
    assert equations.burst_wait_s(10, 2.0, 0.1) == pytest.approx(0.09)
    assert equations.burst_wait_s(1, 0.2, 1.0) == 0


def test_a_request_of_10_finds_as_many_prefills_under_way_as_the_others_spend_of_their_time_in_one():
    assert equations.prefill_busy(10, 1.0, 8.0) == pytest.approx(9 * 1 / 9)


def test_waiting_for_kv_space_obeys_littles_law():
    service, running, concurrency = 10.0, 50.0, 200.0
    wait = equations.kv_wait_s(concurrency, running, service)
    assert concurrency / (service + wait) == pytest.approx(running / service)


def test_throughputs_agree_where_they_describe_the_same_load():
    static = equations.static_throughput(8, 100, 0.5, 0.01)
    assert static == pytest.approx(8 * 100 / 1.5)
    assert equations.saturated_throughput(8, 100, 0.5 / 8, 0.01, 1.0) == pytest.approx(static)
    assert equations.loop_throughput(8, 101, 0.5, 0.01) == pytest.approx(8 * 101 / 1.5)


def test_overheads_add_up_in_seconds():
    assert equations.overhead_s(80, 1e-3, 1e-5, 16, 1e-5) == pytest.approx(1e-3 + 80e-5 + 16e-5)
    assert equations.attention_s(1e12, 2, 1e15, 0.5) == pytest.approx(1e-3)
    assert equations.experts_started_s(48, 100, 1e-7) == pytest.approx(4.8e-4)
    assert math.isclose(equations.microbatch(16, 4), 4) and equations.microbatch(2, 4) == 1
