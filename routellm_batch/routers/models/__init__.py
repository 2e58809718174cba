"""What every torch model needs: where its files are, which device runs it, and how its texts are batched."""
