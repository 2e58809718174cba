"""What lies on storage: the fsspec store, the run folder, the call ledger."""
