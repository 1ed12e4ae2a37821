"""Images to learn from: MNIST, CIFAR-10, the embedded digits, and your own.

:func:`load` looks in ``$BIONET_DATA``, then in the user's cache, then downloads. Every byte
it returns has been checked against the official SHA-256.

=================== ==========================================================================
environment         meaning
=================== ==========================================================================
``BIONET_DATA``     folder with ``mnist/*.gz`` and ``cifar10/cifar-10-binary.tar.*`` (or
                    ``cifar10/cifar-10-batches-bin/*.bin``). Once set, nothing else is used:
                    what is missing there raises, even with ``stand_in=True``.
``BIONET_OFFLINE``  ``1`` forbids downloads.
=================== ==========================================================================

Host only: move an array to a GPU with its own library, for instance ``cupy.asarray``.
"""

from bionet.data.sets import (
    IMAGE_SHAPE,
    NAMES,
    DataCorrupt,
    DataStatus,
    DataUnavailable,
    ImageSet,
    cache_folder,
    check_pixels,
    fetch,
    from_array,
    load,
    load_folder,
    status,
)

__all__ = [
    "IMAGE_SHAPE",
    "NAMES",
    "DataCorrupt",
    "DataStatus",
    "DataUnavailable",
    "ImageSet",
    "cache_folder",
    "check_pixels",
    "fetch",
    "from_array",
    "load",
    "load_folder",
    "status",
]
