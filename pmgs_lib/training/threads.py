"""Torch's number of threads on a CPU, which decides how sums are rounded."""

import torch


def settle_threads() -> int:
    """Let torch keep its number of threads, and return it.

    numba's kernels share torch's OpenMP: the first of them, in the midst of a first step, would set torch's threads to
    numba's number. From then on every sum would be rounded in another way than in the first step of a resumed process.
    """
    import numba  # heavy, and of no use on a GPU

    number = torch.get_num_threads()
    numba.get_num_threads()  # starts numba's threads, once in a process
    torch.set_num_threads(number)
    return number
