"""The score stage: the task that scores a shard, and the loop that sends tasks out."""
