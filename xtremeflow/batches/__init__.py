"""Many calls as one piece of work: map, kv_batch and async_pipeline."""
