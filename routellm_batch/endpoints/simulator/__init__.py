"""The simulator: fake endpoints on loopback that speak real HTTP and fail on command."""
