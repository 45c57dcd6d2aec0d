"""The model put together: step, prefill, and the three quantities of each kind of measurement. Floats or NumPy arrays alike.

`w` is a `workload.Work`, `k` has one attribute a constant (`constants.py`), `s` seconds.
"""

from __future__ import annotations

from planner.performance import equations as t


def context(w, position):
    """Tokens of cache that a layer reads on average at a position: all in full-attention layers, the window in the others."""
    return w.full_attention * position + (1 - w.full_attention) * t.smaller(position, w.window)


def _weights_s(w, k, tokens):
    touched = t.experts_touched(w.experts, w.chosen, tokens * w.sharing, k.expert_skew) / w.experts
    read = w.dense_bytes / k.weights_bandwidth + w.expert_bytes * touched / k.experts_bandwidth
    return t.weights_read_s(read, w.tp, w.bandwidth, 1.0)


def _products_s(w, k, tokens, half_tokens, achieved):
    flops = w.dense_flops + w.expert_flops / k.expert_mfu**w.moe
    return t.matmul_s(flops, tokens, w.tp, w.peak, achieved, half_tokens)


def _communication_s(w, k, tokens):
    message = tokens * w.hidden * 2
    reduces = t.all_reduce_s(2 * w.layers, message, w.tp, w.doublings, k.link_latency_s, w.link, k.link_efficiency)
    return reduces + t.pipeline_transfer_s(w.pp, message, k.link_latency_s, w.link, k.link_efficiency)


def decode_step_s(w, k, sequences, position):
    """Seconds from one token to the next of `sequences` sequences, whose cache holds `position` tokens each.

    With pipeline stages: one microbatch's way through all of them.
    """
    batch = t.microbatch(sequences, w.pp)
    core = t.overlapped_s(_weights_s(w, k, batch), _products_s(w, k, batch, k.decode_half_tokens, k.decode_mfu), 2.0)
    kv = t.kv_read_s(batch * context(w, position), w.kv_bytes, w.kv_copies, w.bandwidth, k.kv_bandwidth)
    layer_s = k.layer_s * (1 + w.moe * k.expert_layer + w.latent * k.latent_layer)
    touched = t.experts_touched(w.experts, w.chosen, batch * w.sharing, k.expert_skew)
    core = core + t.experts_started_s(w.layers, w.moe * touched / w.sharing, k.expert_s)
    overheads = t.overhead_s(w.layers, k.step_s, layer_s, batch, k.sequence_s) + t.choice_s(sequences, w.vocab, w.choice_s_per_word)
    return core + kv + _communication_s(w, k, batch) + overheads


def busy_shares(w, k, sequences, position):
    """Shares of such a step in which some kernel runs, as a GPU's own counter of utilisation has it: likely, at least, at most.

    Idle is the GPU while the host chooses tokens, and in some of what the fit calls overhead of a step and a sequence: most of that is
    small kernels. At least: in all of the choosing and half of the overhead. At most: in half of the choosing. All-reduces count as work,
    as their kernels wait.
    """
    step = decode_step_s(w, k, sequences, position)
    chooses = t.choice_s(sequences + 1, w.vocab, w.choice_s_per_word)
    overhead = k.step_s + k.sequence_s * t.microbatch(sequences, w.pp)
    likely = t.CHOICE_IDLE * chooses + t.OVERHEAD_IDLE * overhead
    return tuple(t.busy_share(step, idle) for idle in (likely, chooses + 0.5 * overhead, 0.5 * chooses))


def prefill_s(w, k, tokens, length):
    """Seconds to read `tokens` input tokens of sequences of `length` tokens, in one go."""
    products = _products_s(w, k, tokens, k.prefill_half_tokens, k.prefill_mfu)
    core = t.overlapped_s(_weights_s(w, k, tokens), products, 2.0)
    attention = t.attention_s(w.attention_flops * tokens * context(w, length / 2), w.tp, w.peak16, k.attention_mfu)
    layer_s = k.layer_s * (1 + w.moe * k.expert_layer + w.latent * k.latent_layer)
    return core + attention + _communication_s(w, k, tokens) + t.overhead_s(w.layers, k.step_s, layer_s, 0.0, 0.0)


def prompt_added_s(w, k):
    """Seconds that one request's prompt adds to a step that runs anyway, for which weights are read and kernels launched already."""
    return prefill_s(w, k, w.isl, w.isl) - prefill_s(w, k, 0.0, 0.0)


def capacity_tokens(w, k):
    """Tokens of cache that fit."""
    gpus = w.tp * w.pp
    weights = w.dense_bytes + w.expert_bytes
    return t.kv_capacity_tokens(w.memory, k.usable_memory, weights, gpus, k.reserve_bytes, w.kv_bytes, w.kv_copies, w.pp)


def running(w, k, concurrency):
    """Requests in the batch at once, of those asked for."""
    return t.running_sequences(t.smaller(concurrency, w.most_running), capacity_tokens(w, k), context(w, w.isl + w.answer_held * w.osl))


def _middle(w):
    return w.isl + w.osl / 2


def _slopes(w, k, name):
    """Log of what the quantity differs from the equations: an offset and slopes over load, lengths, GPUs and size."""
    g = k.__getattribute__
    return (
        g(f"{name}_offset")
        + g(f"{name}_load") * w.log_concurrency
        + g(f"{name}_input") * w.log_isl
        + g(f"{name}_output") * w.log_osl
        + g(f"{name}_gpus") * w.log_gpus
        + g(f"{name}_size") * w.log_size
    )


def log_static_tpot(w, k, log):
    return log(decode_step_s(w, k, running(w, k, w.concurrency), _middle(w))) + _slopes(w, k, "static_tpot")


def served_tpot_s(w, k):
    """Before the correction."""
    now = running(w, k, w.concurrency)
    step = decode_step_s(w, k, now, _middle(w))
    # Of requests that start together, half of the others' prefill is over when one's own is: it is in the time to first token.
    apart = t.larger(1 - 0.5 * w.closed * w.together * k.together, 0.0)
    return step + t.interference_s(prompt_added_s(w, k), now, w.osl, apart * k.interference)


def burst_s(w, k, now):
    """Seconds of waiting for those that started together."""
    return w.closed * t.burst_wait_s(now, prefill_s(w, k, w.isl * now, w.isl), w.together * k.together)


def log_served_tpot(w, k, log):
    return log(served_tpot_s(w, k)) + _slopes(w, k, "served_tpot")


def log_single_ttft(w, k, log):
    first = k.first_token_s + prefill_s(w, k, w.isl * w.concurrency, w.isl)
    return log(first) + _slopes(w, k, "single_ttft")


def log_served_ttft(w, k, log):
    own = prefill_s(w, k, w.isl, w.isl)
    now = running(w, k, w.concurrency)
    tpot = served_tpot_s(w, k)
    burst = burst_s(w, k, now)
    queue = t.queue_s(own, t.prefill_busy(now, own, w.osl * tpot), k.queue, k.queue_growth)
    step = (k.step_wait + k.admission * w.admission_steps) * decode_step_s(w, k, now, _middle(w))
    first = k.first_token_s + own + burst + queue + step + t.kv_wait_s(w.concurrency, now, w.osl * tpot)
    return log(first) + _slopes(w, k, "served_ttft")


def log_static_throughput(w, k, log):
    now = running(w, k, w.concurrency)
    rate = t.static_throughput(now, w.osl, prefill_s(w, k, w.isl * now, w.isl), decode_step_s(w, k, now, _middle(w)))
    return log(rate) + _slopes(w, k, "static_rate")


def log_saturated_throughput(w, k, log):
    now = running(w, k, k.most_sequences)
    chunk = t.larger(w.isl, 2048.0)
    prefill = prefill_s(w, k, chunk, w.isl) * w.isl / chunk
    step = decode_step_s(w, k, now, _middle(w))
    pipelined = t.microbatch(now, 1.0)
    rate = w.replicas * t.saturated_throughput(pipelined, w.osl, prefill / w.pp, step, k.prefill_share)
    return log(rate) + _slopes(w, k, "saturated_rate")


def log_served_throughput(w, k, log):
    # Of those in flight, the ones that wait for KV space give nothing: as many as run give what a loop of their own would.
    now = running(w, k, w.concurrency)
    first = prefill_s(w, k, w.isl, w.isl) + burst_s(w, k, now)
    return log(w.replicas * t.loop_throughput(now, w.osl, first, served_tpot_s(w, k))) + _slopes(w, k, "served_rate")
