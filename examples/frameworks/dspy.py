"""DSPy: pip install 'xtremeflow[dspy,serve]'"""

import dspy

from xtremeflow import TokenRateScheduler
from xtremeflow.frameworks.dspy import lm
from xtremeflow.serve import serve

scheduler = TokenRateScheduler(max_tpm=2_000_000, burst_ratio=1, max_concurrency=20)
with serve("openai", speed=20) as server:  # without it: OpenAI, and your key
    model = lm("openai/gpt-5-mini", scheduler, api_base=server.base_url, api_key="any", cache=False)
    threads = dspy.Parallel(num_threads=5, disable_progress_bar=True)
    answers = threads([(model, {"prompt": f"Question {n}?"}) for n in range(10)])
stats = scheduler.stats()
print(f"{len(answers)} answers, {stats.succeeded} calls, {stats.tokens_used:,} tokens")
