"""The simulator: endpoints on loopback that speak real HTTP, with faults on command."""
