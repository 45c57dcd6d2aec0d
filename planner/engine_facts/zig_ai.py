"""What the planner must know about zig-ai. It follows every setting of the guide, which was written for it."""

from planner.engine_facts.traits import EngineTraits

TRAITS = EngineTraits(
    proxied=False,
    whole_pipeline_in_a_pod=False,
    flash_attention_2=True,
    int8_needs_tensor_cores=True,
    weights_file=None,
    own_weight_cache=True,
    weight_precisions=frozenset({"fp16", "bf16", "fp8", "int8", "int4"}),
    compressed_cache_needs_flash_attention=False,
    timeout_covers_answers=False,
    most_sequences=None,
    # Nobody has published a measurement of it. vLLM is the most measured server with a paged KV cache and tensor parallelism.
    performs_like="vllm",
    measured=False,
)
