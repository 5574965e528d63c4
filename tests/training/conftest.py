"""What tests of training share; with pytest's importlib mode the folder of their helpers has to be named."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Inside `full_disk(size)` no file grows beyond so many bytes; a write that would is cut in its middle."""

    @contextmanager
    def full(after_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full
