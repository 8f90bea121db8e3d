"""Files in object storage (``s3://BUCKET/KEY``), beside those of a disk.

What works with both takes a `Place`: a Path, or a `Remote`, which answers to the same words (``/``, `name`, `exists`,
`read_text` and so on). An object is written whole or not at all by its server, as `files.whole` does on a disk.

The client is obstore: unlike pyarrow's it can write on a condition (If-None-Match, If-Match), by which two drivers
exclude each other, and has checksums of what is sent compared by the server. Region, endpoint and credentials come
from the standard environment: AWS_REGION, AWS_ENDPOINT_URL (for other servers than Amazon's), AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; from the machine's role where there are no keys.
"""

from placevec.objects.place import (
    Place,
    ends,
    fetched,
    is_remote,
    lance_options,
    local_copy,
    located,
    remove,
    together,
    told,
    whole,
    write_text,
)
from placevec.objects.remote import Remote, RemoteFile

__all__ = [
    "Place",
    "Remote",
    "RemoteFile",
    "ends",
    "fetched",
    "is_remote",
    "lance_options",
    "local_copy",
    "located",
    "remove",
    "together",
    "told",
    "whole",
    "write_text",
]
