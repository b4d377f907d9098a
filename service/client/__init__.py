"""A client in Python: ids in, NumPy arrays out.

Long lists go out in batches, which all ask the version that answered the first, and come back in
one piece. What is refused because the server is full, starting or stopping (503), and connections
that fail, are tried again: after the time that `Retry-After` says, or else twice as long every
time, with a random part so that clients do not come back together. Asking twice does no harm;
a job, which would be made twice, is submitted again only where it cannot have arrived.

The synchronous and the asynchronous client share everything but how they wait: a request is a
generator that yields what to do next (`Send`, `Sleep`) and is driven by either.
"""

from service.client.answers import GraphPredictions, Job, LinkScores, Neighbors, Predictions
from service.client.awaiting import AsyncClient
from service.client.blocking import Client

__all__ = [
    "AsyncClient",
    "Client",
    "GraphPredictions",
    "Job",
    "LinkScores",
    "Neighbors",
    "Predictions",
]
