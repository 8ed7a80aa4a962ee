"""What each law predicts from quantities known at initialization, one module per law."""
