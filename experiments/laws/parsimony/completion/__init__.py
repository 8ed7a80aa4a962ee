"""Matrix completion with compressed networks."""
