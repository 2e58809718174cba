"""The report of a plan: its page, its table in the terminal, and the budgets to choose from."""
