"""The 2r x 2r network beside the d x d one."""
