"""A deep linear network beside the law that predicts it (Theorem 1)."""
