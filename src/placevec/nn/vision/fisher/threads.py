"""One image on one thread, several images at a time.

The products of one image are small: two threads that share one of them spend their time waiting for each other (nine
times as long on a busy machine of two cores), while two images on a thread each take half as long as one after the
other. A product on one thread also rounds the same however many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def one_thread() -> Iterator[int]:
    """Let torch use one thread in here; gives how many it used before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def each(work: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """What `work` gives for each of the images, without gradients; as many at a time as torch has threads."""
    with one_thread() as threads, torch.no_grad():
        if threads == 1 or len(images) < 2 or images[0].device.type != "cpu":
            return [work(image) for image in images]
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(torch.no_grad()(work), images))
