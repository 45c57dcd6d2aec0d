"""The equations of the performance model, one function for each term.

Every function is plain arithmetic, so it takes floats or NumPy arrays: the estimate and the fit share these lines. Units are seconds,
bytes, bytes a second, FLOP and FLOP a second; fractions are fractions of a data sheet's peak.
"""

from __future__ import annotations

_EDGE_SHARE = 0.04


def smaller(first, second):
    """Returns the smaller of two values, by arithmetic alone, so that it works on arrays element by element."""
    return 0.5 * (first + second - abs(first - second))


def larger(first, second):
    """Returns the larger of two values, by arithmetic alone, so that it works on arrays element by element."""
    return 0.5 * (first + second + abs(first - second))


def overlapped_s(first_s, second_s, sharpness):
    """Returns the seconds of two overlapping activities of one kernel: a p-norm, between their sum (1) and the longer of them (infinity).

    A matrix product streams weights while it multiplies; the roofline (Williams et al., CACM 52(4), 2009) is the sharp limit.
    """
    return (first_s**sharpness + second_s**sharpness) ** (1 / sharpness)


def experts_touched(experts, chosen, tokens, skew):
    """Returns the routed experts of a layer that a batch of `tokens` tokens reads: `chosen` for one token, all of them in the limit.

    Each further token misses an expert with probability 1 - chosen / experts; `skew` below 1 makes tokens prefer the same ones.
    A dense model has one expert, which is always chosen.
    """
    missed = (1 - chosen / experts) ** (skew * larger(tokens - 1, 0.0))
    return chosen + (experts - chosen) * (1 - missed)


def experts_started_s(layers, touched, per_expert_s):
    """Returns the seconds that a grouped matrix product spends on its tiles beyond reading them: layers x experts touched x seconds
    each."""
    return layers * touched * per_expert_s


def weights_read_s(weight_bytes, gpus, bandwidth, achieved):
    """Returns the seconds to read weights that are split evenly over GPUs: bytes / (GPUs x bandwidth x achieved fraction)."""
    return weight_bytes / (gpus * bandwidth * achieved)


def kv_read_s(tokens, bytes_per_token, copies, bandwidth, achieved):
    """Returns the seconds in which one GPU reads the keys and values of `tokens` cached tokens.

    `copies` is the share of a token's bytes that one GPU holds: 1 / tensor parallelism, but at least one KV head, and the whole latent
    vector of an MLA model, which every GPU needs.
    """
    return tokens * bytes_per_token * copies / (bandwidth * achieved)


def matmul_s(flops_per_token, tokens, gpus, peak, achieved, half_tokens):
    """Returns the seconds of the matrix products over `tokens` tokens at once.

    The achieved fraction of the peak is achieved x tokens / (tokens + half_tokens), as few tokens leave a tensor core's tile partly empty.
    """
    return flops_per_token * (tokens + half_tokens) / (gpus * peak * achieved)


def attention_s(flops, gpus, peak, achieved):
    """Returns the seconds of the attention scores and their product with the values, in 16 bits."""
    return flops / (gpus * peak * achieved)


def all_reduce_s(operations, message_bytes, tensor_parallel, doublings, latency_s, link, achieved):
    """Returns the seconds of `operations` all-reduces of `message_bytes` over `tensor_parallel` GPUs; 0 for one GPU.

    The latency grows by 15 % with each doubling of the GPUs, and 2 (GPUs - 1) / GPUs of the message crosses each GPU's link (ring
    all-reduce, NVIDIA NCCL tests doc/PERFORMANCE.md). `link` is the bytes a second of one GPU in one direction.
    """
    several = smaller(tensor_parallel - 1.0, 1.0)
    share = 2 * (tensor_parallel - 1) / tensor_parallel
    return operations * (several * latency_s * (1 + 0.15 * doublings) + share * message_bytes / (link * achieved))


def pipeline_transfer_s(stages, message_bytes, latency_s, link, achieved):
    """Returns the seconds in which one microbatch's hidden state passes from stage to stage; 0 for one stage."""
    return (stages - 1) * (latency_s + message_bytes / (link * achieved))


def overhead_s(layers, per_step_s, per_layer_s, sequences, per_sequence_s):
    """Returns the seconds of a step that no byte or FLOP explains: scheduler and launch, small kernels of each layer, sampler of each
    sequence."""
    return per_step_s + layers * per_layer_s + sequences * per_sequence_s


CHOICE_S_PER_WORD = {"llama.cpp": 6.2e-9}
"""Seconds per word and token of the host thread that chooses tokens, by engine; other engines choose them on the GPU. With llama.cpp's
server on a Xeon beside an H100, a step of 31.9 requests took 36.4 ms, 11.7 of them on the GPU, for 30.9 further tokens among 128,256 words
(bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json: `guide` with 100 users, `step`)."""


def choice_s(sequences, words, per_word_s):
    """Returns the seconds in which one host thread chooses the tokens of all sequences, one after another, each among the whole vocabulary.

    The first sequence's time is part of the overheads, which are fitted to single requests.
    """
    return (sequences - 1) * words * per_word_s


CHOICE_IDLE, OVERHEAD_IDLE = 0.7, 0.2
"""The shares of that choosing, and of what the fit calls overhead of a step and a sequence, in which no kernel runs. With them the model
meets the counters of 37 runs of one llama-server and 31 of one vLLM on an H100 within 3.7 and 4.6 points at the median
(bench/results/gpu_*.json, all entries with `utilisation` except those of several servers at once, and vLLM without CUDA graphs, flash
attention or asynchronous scheduling)."""


def busy_share(step_s, idle_s):
    """Returns the share of a step in which some kernel runs."""
    return larger(1 - idle_s / step_s, 0.0)


def microbatch(sequences, stages):
    """Returns the sequences of one microbatch when a batch keeps every pipeline stage busy; at least one."""
    return larger(sequences / stages, 1.0)


def kv_capacity_tokens(memory_bytes, usable, weight_bytes, gpus, reserve_bytes, bytes_per_token, copies, stages):
    """Returns the tokens whose keys and values fit beside the weights, over all pipeline stages; at least one.

    The room is memory x usable fraction - weights / GPUs - reserve (activations, libraries), and it is divided by one GPU's bytes per
    token. Where almost nothing is left, engines still start with the little that a smaller batch leaves: the edge is smoothed over 4 % of
    the memory."""
    room = memory_bytes * usable - weight_bytes / gpus - reserve_bytes
    room = 0.5 * (room + (room * room + (_EDGE_SHARE * memory_bytes) ** 2) ** 0.5)
    return room / (bytes_per_token * copies / stages)


def running_sequences(concurrency, capacity_tokens, tokens_per_sequence):
    """Returns how many of `concurrency` requests have keys and values that fit; at least one."""
    return larger(smaller(concurrency, capacity_tokens / tokens_per_sequence), 1.0)


def interference_s(prompt_s, sequences, output_tokens, weight):
    """Returns the seconds that other requests' prompts add to a token: (n - 1) prompts in the time of one answer, spread over its
    tokens."""
    return weight * (sequences - 1) * prompt_s / output_tokens


def burst_wait_s(sequences, prefill_of_all_s, together):
    """Returns the seconds that a request waits for the prefill of those that started with it: half of the others', times the share that
    did.

    A closed loop starts with all its requests at once; with r prompts per slot, 1 / r of them start together and later ones apart.
    """
    return together * 0.5 * (sequences - 1) / sequences * prefill_of_all_s


def prefill_busy(sequences, prefill_s, answer_s):
    """Returns the prefills of others that a request finds running or waiting: (n - 1) x prefill / (prefill + answer), by Little's law."""
    return larger(sequences - 1.0, 0.0) * prefill_s / (prefill_s + answer_s)


def queue_s(prefill_s, busy, strength, growth):
    """Returns the seconds that a request waits for running prefills: strength x prefill x busy^growth."""
    return strength * prefill_s * busy**growth


def kv_wait_s(concurrency, running, service_s):
    """Returns the seconds that a request waits for KV space in a closed loop: service x (concurrency / running - 1), by Little's law."""
    return service_s * (concurrency / running - 1)


def static_throughput(sequences, output_tokens, prefill_s, step_s):
    """Returns the output tokens a second of a batch that starts and ends together: n x osl / (prefill + osl x step)."""
    return sequences * output_tokens / (prefill_s + output_tokens * step_s)


def saturated_throughput(sequences, output_tokens, prefill_s, step_s, weight):
    """Returns the output tokens a second with requests always waiting: n x osl / (n x weight x prefill of one + osl x step)."""
    return sequences * output_tokens / (sequences * weight * prefill_s + output_tokens * step_s)


def loop_throughput(concurrency, output_tokens, first_token_s, per_token_s):
    """Returns the output tokens a second of a closed loop: concurrency x osl / (time to first token + (osl - 1) x time per token)."""
    return concurrency * output_tokens / (first_token_s + (output_tokens - 1) * per_token_s)
