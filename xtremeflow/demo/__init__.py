"""The main job: a sample of a real trace through a scheduler, at a strict simulated provider.

`python -m xtremeflow.demo` shows it. As a library, to do the job by a scheduler of one's own:

    job = size_job(load_trace(), seconds=20)
    result = asyncio.run(run_job(job, run_scheduled))
    print(result.efficiency, result.wasted)
"""

from xtremeflow.demo.job import Job, size_job
from xtremeflow.demo.result import Call, JobResult, Runner, run_job
from xtremeflow.demo.scheduled import run_scheduled
from xtremeflow.demo.trace import TraceRequest, load_trace
from xtremeflow.demo.usual import run_usual

__all__ = [
    "Call",
    "Job",
    "JobResult",
    "Runner",
    "TraceRequest",
    "load_trace",
    "run_job",
    "run_scheduled",
    "run_usual",
    "size_job",
]
