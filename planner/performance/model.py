"""The performance model, put together from the equations: a step, a prefill, and the three quantities of each kind of measurement.

Every function takes `inputs`, the numbers of a question (`model_inputs.ModelInputs`), and `constants`, with one attribute for each constant
(`constants.py`). Where a float is written, a NumPy array does as well; names that end in `_s` are seconds. `log` is the logarithm for that
kind of value.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeAlias

from planner.performance.equations import (
    CHOICE_IDLE,
    OVERHEAD_IDLE,
    all_reduce_s,
    attention_s,
    burst_wait_s,
    busy_share,
    choice_s,
    experts_started_s,
    experts_touched,
    interference_s,
    kv_capacity_tokens,
    kv_read_s,
    kv_wait_s,
    larger,
    loop_throughput,
    matmul_s,
    microbatch,
    overhead_s,
    overlapped_s,
    pipeline_transfer_s,
    prefill_busy,
    queue_s,
    running_sequences,
    saturated_throughput,
    smaller,
    static_throughput,
    weights_read_s,
)
from planner.performance.model_inputs import ModelInputs

Inputs: TypeAlias = ModelInputs | SimpleNamespace
"""The fit passes a namespace with the same names, whose values are arrays with one element for each measured row."""


def context(inputs: Inputs, position: float) -> float:
    """Returns the tokens of cache that a layer reads on average at a position: all in full-attention layers, the window in the others."""
    return inputs.full_attention * position + (1 - inputs.full_attention) * smaller(position, inputs.window)


def _weights_s(inputs: Inputs, constants: SimpleNamespace, tokens: float) -> float:
    """Seconds to read the weights that `tokens` tokens use."""
    touched = experts_touched(inputs.experts, inputs.chosen, tokens * inputs.sharing, constants.expert_skew) / inputs.experts
    read = inputs.dense_bytes / constants.weights_bandwidth + inputs.expert_bytes * touched / constants.experts_bandwidth
    return weights_read_s(read, inputs.tp, inputs.bandwidth, 1.0)


def _products_s(inputs: Inputs, constants: SimpleNamespace, tokens: float, half_tokens: float, achieved: float) -> float:
    """Seconds of the matrix products with the weights for `tokens` tokens."""
    flops = inputs.dense_flops + inputs.expert_flops / constants.expert_mfu**inputs.moe
    return matmul_s(flops, tokens, inputs.tp, inputs.peak, achieved, half_tokens)


def _communication_s(inputs: Inputs, constants: SimpleNamespace, tokens: float) -> float:
    """Seconds of the all-reduces and of the way between pipeline stages for `tokens` tokens."""
    message = tokens * inputs.hidden * 2
    reduces = all_reduce_s(
        2 * inputs.layers, message, inputs.tp, inputs.doublings, constants.link_latency_s, inputs.link, constants.link_efficiency
    )
    return reduces + pipeline_transfer_s(inputs.pp, message, constants.link_latency_s, inputs.link, constants.link_efficiency)


def decode_step_s(inputs: Inputs, constants: SimpleNamespace, sequences: float, position: float) -> float:
    """Returns the seconds from one token to the next for `sequences` sequences whose cache holds `position` tokens each.

    With pipeline stages, it is the way of one microbatch through all of them.
    """
    batch = microbatch(sequences, inputs.pp)
    core = overlapped_s(
        _weights_s(inputs, constants, batch), _products_s(inputs, constants, batch, constants.decode_half_tokens, constants.decode_mfu), 2.0
    )
    kv = kv_read_s(batch * context(inputs, position), inputs.kv_bytes, inputs.kv_copies, inputs.bandwidth, constants.kv_bandwidth)
    layer_s = constants.layer_s * (1 + inputs.moe * constants.expert_layer + inputs.latent * constants.latent_layer)
    touched = experts_touched(inputs.experts, inputs.chosen, batch * inputs.sharing, constants.expert_skew)
    core = core + experts_started_s(inputs.layers, inputs.moe * touched / inputs.sharing, constants.expert_s)
    overheads = overhead_s(inputs.layers, constants.step_s, layer_s, batch, constants.sequence_s) + choice_s(
        sequences, inputs.vocab, inputs.choice_s_per_word
    )
    return core + kv + _communication_s(inputs, constants, batch) + overheads


def busy_shares(inputs: Inputs, constants: SimpleNamespace, sequences: float, position: float) -> tuple[float, float, float]:
    """Returns the likely, the least and the greatest share of such a step in which some kernel runs, as a GPU's utilisation counter sees
    it.

    A GPU is idle while the host chooses tokens, and during some of what the fit calls overhead of a step and a sequence, most of which is
    small kernels. The least share counts all of the choosing and half of the overhead as idle, the greatest only half of the choosing.
    All-reduces count as work, as their kernels run while they wait.
    """
    step = decode_step_s(inputs, constants, sequences, position)
    chooses = choice_s(sequences + 1, inputs.vocab, inputs.choice_s_per_word)
    overhead = constants.step_s + constants.sequence_s * microbatch(sequences, inputs.pp)
    likely = CHOICE_IDLE * chooses + OVERHEAD_IDLE * overhead
    return busy_share(step, likely), busy_share(step, chooses + 0.5 * overhead), busy_share(step, 0.5 * chooses)


def prefill_s(inputs: Inputs, constants: SimpleNamespace, tokens: float, length: float) -> float:
    """Returns the seconds to read `tokens` input tokens at once, of prompts that have `length` tokens each."""
    products = _products_s(inputs, constants, tokens, constants.prefill_half_tokens, constants.prefill_mfu)
    core = overlapped_s(_weights_s(inputs, constants, tokens), products, 2.0)
    attention = attention_s(
        inputs.attention_flops * tokens * context(inputs, length / 2), inputs.tp, inputs.peak16, constants.attention_mfu
    )
    layer_s = constants.layer_s * (1 + inputs.moe * constants.expert_layer + inputs.latent * constants.latent_layer)
    return core + attention + _communication_s(inputs, constants, tokens) + overhead_s(inputs.layers, constants.step_s, layer_s, 0.0, 0.0)


def prompt_added_s(inputs: Inputs, constants: SimpleNamespace) -> float:
    """Returns the seconds that a prompt adds to a step that runs anyway, for which weights are read and kernels are launched already."""
    return prefill_s(inputs, constants, inputs.isl, inputs.isl) - prefill_s(inputs, constants, 0.0, 0.0)


def capacity_tokens(inputs: Inputs, constants: SimpleNamespace) -> float:
    """Returns the tokens of cache that fit beside the weights."""
    gpus = inputs.tp * inputs.pp
    weights = inputs.dense_bytes + inputs.expert_bytes
    return kv_capacity_tokens(
        inputs.memory, constants.usable_memory, weights, gpus, constants.reserve_bytes, inputs.kv_bytes, inputs.kv_copies, inputs.pp
    )


def running(inputs: Inputs, constants: SimpleNamespace, concurrency: float) -> float:
    """Returns how many of `concurrency` requests run at once."""
    return running_sequences(
        smaller(concurrency, inputs.most_running),
        capacity_tokens(inputs, constants),
        context(inputs, inputs.isl + inputs.answer_held * inputs.osl),
    )


def _middle(inputs: Inputs) -> float:
    """The tokens in the cache of a request half-way through its answer."""
    return inputs.isl + inputs.osl / 2


def _slopes(inputs: Inputs, constants: SimpleNamespace, name: str) -> float:
    """The logarithm of the factor between a quantity and the equations: an offset and slopes over load, lengths, GPUs and size."""

    def constant(suffix):
        return getattr(constants, f"{name}_{suffix}")

    return (
        constant("offset")
        + constant("load") * inputs.log_concurrency
        + constant("input") * inputs.log_isl
        + constant("output") * inputs.log_osl
        + constant("gpus") * inputs.log_gpus
        + constant("size") * inputs.log_size
    )


def log_static_tpot(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the seconds per token of a batch that starts and ends together."""
    return log(decode_step_s(inputs, constants, running(inputs, constants, inputs.concurrency), _middle(inputs))) + _slopes(
        inputs, constants, "static_tpot"
    )


def served_tpot_s(inputs: Inputs, constants: SimpleNamespace) -> float:
    """Returns the seconds per token of a server under load, before the correction by `_slopes`."""
    now = running(inputs, constants, inputs.concurrency)
    step = decode_step_s(inputs, constants, now, _middle(inputs))
    # When requests start together, half of the others' prefill is over when one's own is; that part is in the time to first token.
    apart = larger(1 - 0.5 * inputs.closed * inputs.together * constants.together, 0.0)
    return step + interference_s(prompt_added_s(inputs, constants), now, inputs.osl, apart * constants.interference)


def burst_s(inputs: Inputs, constants: SimpleNamespace, now: float) -> float:
    """Returns the seconds that a request waits for those that started at the same time."""
    return inputs.closed * burst_wait_s(
        now, prefill_s(inputs, constants, inputs.isl * now, inputs.isl), inputs.together * constants.together
    )


def log_served_tpot(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the seconds per token of a server under load."""
    return log(served_tpot_s(inputs, constants)) + _slopes(inputs, constants, "served_tpot")


def log_single_ttft(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the seconds to the first token of a request or a batch that nothing else delays."""
    first = constants.first_token_s + prefill_s(inputs, constants, inputs.isl * inputs.concurrency, inputs.isl)
    return log(first) + _slopes(inputs, constants, "single_ttft")


def log_served_ttft(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the seconds to the first token of a server under load."""
    own = prefill_s(inputs, constants, inputs.isl, inputs.isl)
    now = running(inputs, constants, inputs.concurrency)
    tpot = served_tpot_s(inputs, constants)
    burst = burst_s(inputs, constants, now)
    queue = queue_s(own, prefill_busy(now, own, inputs.osl * tpot), constants.queue, constants.queue_growth)
    step = (constants.step_wait + constants.admission * inputs.admission_steps) * decode_step_s(inputs, constants, now, _middle(inputs))
    first = constants.first_token_s + own + burst + queue + step + kv_wait_s(inputs.concurrency, now, inputs.osl * tpot)
    return log(first) + _slopes(inputs, constants, "served_ttft")


def log_static_throughput(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the output tokens a second of a batch that starts and ends together."""
    now = running(inputs, constants, inputs.concurrency)
    rate = static_throughput(
        now, inputs.osl, prefill_s(inputs, constants, inputs.isl * now, inputs.isl), decode_step_s(inputs, constants, now, _middle(inputs))
    )
    return log(rate) + _slopes(inputs, constants, "static_rate")


def log_saturated_throughput(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the output tokens a second with requests always waiting."""
    now = running(inputs, constants, constants.most_sequences)
    chunk = larger(inputs.isl, 2048.0)
    prefill = prefill_s(inputs, constants, chunk, inputs.isl) * inputs.isl / chunk
    step = decode_step_s(inputs, constants, now, _middle(inputs))
    pipelined = microbatch(now, 1.0)
    rate = inputs.replicas * saturated_throughput(pipelined, inputs.osl, prefill / inputs.pp, step, constants.prefill_share)
    return log(rate) + _slopes(inputs, constants, "saturated_rate")


def log_served_throughput(inputs: Inputs, constants: SimpleNamespace, log: Callable[[float], float]) -> float:
    """Returns the logarithm of the output tokens a second of a server under load."""
    # Requests that wait for KV space contribute nothing: those that run have the throughput of a closed loop of their own.
    now = running(inputs, constants, inputs.concurrency)
    first = prefill_s(inputs, constants, inputs.isl, inputs.isl) + burst_s(inputs, constants, now)
    return log(inputs.replicas * loop_throughput(now, inputs.osl, first, served_tpot_s(inputs, constants))) + _slopes(
        inputs, constants, "served_rate"
    )
