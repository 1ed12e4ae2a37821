"""The same rules made fast. Numba, ctypes and CUDA kernels appear in this folder only.

====================  =======================================================================
``ranked*``           the paper's fast rule: on the host, with Numba (``ranked_compiled``), on
                      a GPU (``ranked_cuda``: the launches; ``ranked_cuda.cu``: the kernels)
``competing*``        equations 1 to 3, a block of images at a time
``readout*``          the linear layer of the readout
``engine``            which path computes the fast rule for these arrays
``numba_engine``      whether Numba is there
====================  =======================================================================

Each is held by tests to its readable definition: :mod:`bionet.ranking`, :mod:`bionet.dynamics` with
:mod:`bionet.plasticity`, :mod:`bionet.optim`. Whoever changes eq. 2 there changes it in
``competing_compiled``, too.
"""
