"""Writers of finished runs in the formats of other programs; each says what it left out."""
