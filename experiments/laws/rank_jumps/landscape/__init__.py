"""The critical points and regions that decide which way ranks jump."""
