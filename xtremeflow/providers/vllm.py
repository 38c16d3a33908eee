"""vLLM: a self-hosted server, which works on a batch of calls and lets the others wait.

The batch is its `max_num_seqs`: https://docs.vllm.ai/en/v0.8.5/serving/engine_args.html
"""

from __future__ import annotations

from xtremeflow.providers.provider import CacheRules, Provider, UsualLimit

VLLM = Provider(
    "vllm",
    "vLLM",
    "http://127.0.0.1:8000/v1",
    None,
    quotas={"concurrency": UsualLimit(None, "at once")},
    # Source: https://docs.vllm.ai/en/latest/features/automatic_prefix_caching.html
    cache=CacheRules(minimum=16, unit=16, usable="scheduled", read_price=0.0),
    batch=256,
    streams="asked",
)
