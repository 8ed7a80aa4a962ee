"""lawlib: the small subspaces in which gradient descent moves, as pure JAX functions.

Axis letters in every signature: ``d`` width, ``r`` and ``s`` dimensions of subspaces, ``L`` depth, ``N`` samples,
``K`` classes, ``m`` idle directions (d - 2r), ``T`` steps. Columns are samples; W_l maps layer l-1 to layer l.
"""
