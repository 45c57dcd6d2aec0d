"""The equations of the performance model, one function for each term.

Every function is plain arithmetic, so where a float is written, a NumPy array does as well: the estimate and the fit share these lines.
Units are seconds, bytes, bytes a second, FLOP and FLOP a second; fractions are fractions of a data sheet's peak.
"""

from __future__ import annotations

_EDGE_SHARE = 0.04


def smaller(first: float, second: float) -> float:
    """Returns the smaller of two values, by arithmetic alone, so that it works on arrays element by element."""
    return 0.5 * (first + second - abs(first - second))


def larger(first: float, second: float) -> float:
    """Returns the larger of two values, by arithmetic alone, so that it works on arrays element by element."""
    return 0.5 * (first + second + abs(first - second))


def overlapped_s(first_s: float, second_s: float, sharpness: float) -> float:
    """Returns the seconds of two overlapping activities of one kernel: a p-norm, between their sum (1) and the longer of them (infinity).

    A matrix product streams weights while it multiplies; the roofline (Williams et al., CACM 52(4), 2009) is the sharp limit.
    """
    return (first_s**sharpness + second_s**sharpness) ** (1 / sharpness)


def experts_touched(experts: float, chosen: float, tokens: float, skew: float) -> float:
    """Returns the routed experts of a layer that a batch of `tokens` tokens reads: `chosen` for one token, all of them in the limit.

    Each further token misses an expert with probability 1 - chosen / experts; `skew` below 1 makes tokens prefer the same ones.
    A dense model has one expert, which is always chosen.
    """
    missed = (1 - chosen / experts) ** (skew * larger(tokens - 1, 0.0))
    return chosen + (experts - chosen) * (1 - missed)


def experts_started_s(layers: float, touched: float, per_expert_s: float) -> float:
    """Returns the seconds that a grouped matrix product spends on its tiles beyond reading them: layers x experts touched x seconds
    each."""
    return layers * touched * per_expert_s


def weights_read_s(weight_bytes: float, gpus: float, bandwidth: float, achieved: float) -> float:
    """Returns the seconds to read weights that are split evenly over GPUs: bytes / (GPUs x bandwidth x achieved fraction)."""
    return weight_bytes / (gpus * bandwidth * achieved)


def kv_read_s(tokens: float, bytes_per_token: float, copies: float, bandwidth: float, achieved: float) -> float:
    """Returns the seconds in which one GPU reads the keys and values of `tokens` cached tokens.

    `copies` is the share of a token's bytes that one GPU holds: 1 / tensor parallelism, but at least one KV head, and the whole latent
    vector of an MLA model, which every GPU needs.
    """
    return tokens * bytes_per_token * copies / (bandwidth * achieved)


def matmul_s(flops_per_token: float, tokens: float, gpus: float, peak: float, achieved: float, half_tokens: float) -> float:
    """Returns the seconds of the matrix products over `tokens` tokens at once.

    The achieved fraction of the peak is achieved x tokens / (tokens + half_tokens), as few tokens leave a tensor core's tile partly empty.
    """
    return flops_per_token * (tokens + half_tokens) / (gpus * peak * achieved)


def attention_s(flops: float, gpus: float, peak: float, achieved: float) -> float:
    """Returns the seconds of the attention scores and their product with the values, in 16 bits."""
    return flops / (gpus * peak * achieved)


def all_reduce_s(
    operations: float, message_bytes: float, tensor_parallel: float, doublings: float, latency_s: float, link: float, achieved: float
) -> float:
    """Returns the seconds of `operations` all-reduces of `message_bytes` over `tensor_parallel` GPUs; 0 for one GPU.

    The latency grows by 15 % with each doubling of the GPUs, and 2 (GPUs - 1) / GPUs of the message crosses each GPU's link (ring
    all-reduce, NVIDIA NCCL tests doc/PERFORMANCE.md). `link` is the bytes a second of one GPU in one direction.
    """
    several = smaller(tensor_parallel - 1.0, 1.0)
    share = 2 * (tensor_parallel - 1) / tensor_parallel
    return operations * (several * latency_s * (1 + 0.15 * doublings) + share * message_bytes / (link * achieved))


def pipeline_transfer_s(stages: float, message_bytes: float, latency_s: float, link: float, achieved: float) -> float:
    """Returns the seconds in which one microbatch's hidden state passes from stage to stage; 0 for one stage."""
    return (stages - 1) * (latency_s + message_bytes / (link * achieved))


def overhead_s(layers: float, per_step_s: float, per_layer_s: float, sequences: float, per_sequence_s: float) -> float:
    """Returns the seconds of a step that no byte or FLOP explains: scheduler and launch, small kernels of each layer, sampler of each
    sequence."""
    return per_step_s + layers * per_layer_s + sequences * per_sequence_s


CHOICE_S_PER_WORD = {"llama.cpp": 6.2e-9}
"""Seconds per word and token of the host thread that chooses tokens, by engine; other engines choose them on the GPU. With llama.cpp's
server on a Xeon beside an H100, a step of 31.9 requests took 36.4 ms, 11.7 of them on the GPU, for 30.9 further tokens among 128,256 words
(bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json: `guide` with 100 users, `step`)."""


def choice_s(sequences: float, words: float, per_word_s: float) -> float:
    """Returns the seconds in which one host thread chooses the tokens of all sequences, one after another, each among the whole vocabulary.

    The first sequence's time is part of the overheads, which are fitted to single requests.
    """
    return (sequences - 1) * words * per_word_s


CHOICE_IDLE, OVERHEAD_IDLE = 0.7, 0.2
"""The shares of that choosing, and of what the fit calls overhead of a step and a sequence, in which no kernel runs. With them the model
meets the counters of 37 runs of one llama-server and 31 of one vLLM on an H100 within 3.7 and 4.6 points at the median
(bench/results/gpu_*.json, all entries with `utilisation` except those of several servers at once, and vLLM without CUDA graphs, flash
attention or asynchronous scheduling)."""


def busy_share(step_s: float, idle_s: float) -> float:
    """Returns the share of a step in which some kernel runs."""
    return larger(1 - idle_s / step_s, 0.0)


def microbatch(sequences: float, stages: float) -> float:
    """Returns the sequences of one microbatch when a batch keeps every pipeline stage busy; at least one."""
    return larger(sequences / stages, 1.0)


def kv_capacity_tokens(
    memory_bytes: float,
    usable: float,
    weight_bytes: float,
    gpus: float,
    reserve_bytes: float,
    bytes_per_token: float,
    copies: float,
    stages: float,
) -> float:
    """Returns the tokens whose keys and values fit beside the weights, over all pipeline stages; at least one.

    The room is memory x usable fraction - weights / GPUs - reserve (activations, libraries), and it is divided by one GPU's bytes per
    token. Where almost nothing is left, engines still start with the little that a smaller batch leaves: the edge is smoothed over 4 % of
    the memory."""
    room = memory_bytes * usable - weight_bytes / gpus - reserve_bytes
    room = 0.5 * (room + (room * room + (_EDGE_SHARE * memory_bytes) ** 2) ** 0.5)
    return room / (bytes_per_token * copies / stages)


def running_sequences(concurrency: float, capacity_tokens: float, tokens_per_sequence: float) -> float:
    """Returns how many of `concurrency` requests have keys and values that fit; at least one."""
    return larger(smaller(concurrency, capacity_tokens / tokens_per_sequence), 1.0)


def interference_s(prompt_s: float, sequences: float, output_tokens: float, weight: float) -> float:
    """Returns the seconds that other requests' prompts add to a token: (n - 1) prompts in the time of one answer, spread over its
    tokens."""
    return weight * (sequences - 1) * prompt_s / output_tokens


def burst_wait_s(sequences: float, prefill_of_all_s: float, together: float) -> float:
    """Returns the seconds that a request waits for the prefill of those that started with it: half of the others', times the share that
    did.

    A closed loop starts with all its requests at once; with r prompts per slot, 1 / r of them start together and later ones apart.
    """
    return together * 0.5 * (sequences - 1) / sequences * prefill_of_all_s


def prefill_busy(sequences: float, prefill_s: float, answer_s: float) -> float:
    """Returns the prefills of others that a request finds running or waiting: (n - 1) x prefill / (prefill + answer), by Little's law."""
    return larger(sequences - 1.0, 0.0) * prefill_s / (prefill_s + answer_s)


def queue_s(prefill_s: float, busy: float, strength: float, growth: float) -> float:
    """Returns the seconds that a request waits for running prefills: strength x prefill x busy^growth."""
    return strength * prefill_s * busy**growth


def kv_wait_s(concurrency: float, running: float, service_s: float) -> float:
    """Returns the seconds that a request waits for KV space in a closed loop: service x (concurrency / running - 1), by Little's law."""
    return service_s * (concurrency / running - 1)


def static_throughput(sequences: float, output_tokens: float, prefill_s: float, step_s: float) -> float:
    """Returns the output tokens a second of a batch that starts and ends together: n x osl / (prefill + osl x step)."""
    return sequences * output_tokens / (prefill_s + output_tokens * step_s)


def saturated_throughput(sequences: float, output_tokens: float, prefill_s: float, step_s: float, weight: float) -> float:
    """Returns the output tokens a second with requests always waiting: n x osl / (n x weight x prefill of one + osl x step)."""
    return sequences * output_tokens / (sequences * weight * prefill_s + output_tokens * step_s)


def loop_throughput(concurrency: float, output_tokens: float, first_token_s: float, per_token_s: float) -> float:
    """Returns the output tokens a second of a closed loop: concurrency x osl / (time to first token + (osl - 1) x time per token)."""
    return concurrency * output_tokens / (first_token_s + (output_tokens - 1) * per_token_s)
