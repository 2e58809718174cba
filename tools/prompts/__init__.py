"""Where the bundled prompts come from: one module for each category."""
