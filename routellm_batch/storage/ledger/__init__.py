"""The call ledger: what was going to be sent, what came of it, and who may write (see DESIGN.md)."""
