"""The page about finished runs: each module reads one part of them, and the templates lay the parts out."""
