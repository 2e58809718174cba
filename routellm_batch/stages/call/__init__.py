"""The call stage: the task that calls a shard, and the loop that sends tasks out."""
