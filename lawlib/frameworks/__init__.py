"""How the models of a framework become plain trees of arrays; frameworks are imported when their models come."""
