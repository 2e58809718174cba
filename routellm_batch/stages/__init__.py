"""The four stages, each a plain function on shards: score, plan, call, and what is written of it."""
