"""One module per law: what it predicts, as functions of what is known at initialization."""
