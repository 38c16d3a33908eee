"""Score many resumes for each of some jobs: prompts that share a long prefix, with kv_batch.

    python examples/score_batch.py

The first call of each job goes alone and fills the provider's prompt cache with the job's
description; the others follow together. One scheduler admits the calls of all jobs.
"""

from __future__ import annotations

import asyncio

from xtremeflow import Limit, TokenRateScheduler, auto_backoff, kv_batch, report_token_usage
from xtremeflow.testing import SimulatedProvider, TokenBucket

JOBS = ["engineer", "gardener", "pilot"]
RESUMES = range(12)
DESCRIPTION, RESUME, ANSWER = 2_000, 500, 20  # tokens

provider = SimulatedProvider(
    [TokenBucket("tokens", 60_000, per=1.0, capacity=30_000)], charge="actual"
)
# A little less than the provider's capacity at once: calls do not all take equally long to it.
scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, per=1.0, capacity=28_000)])


@auto_backoff()
async def score(job: str, resume: int) -> int:
    """A score from 0 to 99; with a real provider, what the model answers."""
    response = await provider.call(prompt_tokens=DESCRIPTION + RESUME, output_tokens=ANSWER)
    await report_token_usage(response.usage.total_tokens)
    return (sum(map(ord, job)) * 7 + resume * 31) % 100


async def main() -> None:
    batches = {
        job: kv_batch(
            (score(job, resume) for resume in RESUMES),
            scheduler=scheduler,
            estimated_tokens=DESCRIPTION + RESUME + ANSWER,
        )
        for job in JOBS
    }
    for job, batch in batches.items():
        scores = await batch
        best = max(RESUMES, key=scores.__getitem__)
        print(f"{job}: resume {best} with {scores[best]} of 99 points")
    stats = scheduler.stats()
    print(
        f"{stats.succeeded} calls in {stats.elapsed:.1f} s, {provider.stats.refused} refused, "
        f"{stats.tokens_used:,} tokens"
    )


if __name__ == "__main__":
    asyncio.run(main())
