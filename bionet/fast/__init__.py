"""The same rules made fast. Numba, ctypes and CUDA kernels appear in this folder only."""
