"""Pipeline: whole jobs, composed of stages and adapters."""
