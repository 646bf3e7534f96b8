"""What can go wrong for a user, one sentence each: what happened, with numbers, and what to do.

ZooError
├── CardError (ValueError)        a model card is missing, malformed, or asks for something unknown
├── RequestError (ValueError)     what was asked does not fit the model
│   └── BusyError                 more was asked than one may ask at a time
├── CheckpointError               a file is not the weights that it should be
├── DownloadError (OSError)       weights are not on this machine, or could not be downloaded
│   ├── ChecksumError             they were downloaded, but are not what was announced
│   └── CancelledError            somebody stopped them
├── MediaError (ValueError)       a picture, video or receipt cannot be read or written
├── VotesError                    blind choices cannot be read or kept
├── LoginError                    who may log in cannot be read or written, or is nobody
├── VariableError (ValueError)    a variable of the environment is set to what cannot be used
├── LentGPUError                  a GPU that is lent for a request was not to be had, or was taken back
└── OutOfMemoryError              the device is too small for this request
"""

from __future__ import annotations


class ZooError(Exception):
    """Any error that a user can cause; its text is shown as it is, on the page and at the terminal.

    command: what helps at a terminal, which only the command line adds to the text.
    """

    def __init__(self, text: str, command: str = "") -> None:
        super().__init__(text)
        self.command = command


class CardError(ZooError, ValueError):
    """A model card is missing, malformed, or asks for something unknown."""


class RequestError(ZooError, ValueError):
    """What was asked does not fit the model."""


class BusyError(RequestError):
    """More was asked than one may ask at a time, or in a while: the same may be asked later.

    seconds: after which to try again, None where nobody knows.
    """

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


class CheckpointError(ZooError):
    """A file is not the weights that it should be."""


class DownloadError(ZooError, OSError):
    """Weights are not on this machine, or could not be downloaded."""


class ChecksumError(DownloadError):
    """Weights were downloaded, but are not what was announced."""


class CancelledError(DownloadError):
    """A download was stopped; the next one goes on from there."""


class MediaError(ZooError, ValueError):
    """A picture, video or receipt cannot be read or written."""


class VotesError(ZooError):
    """Blind choices cannot be read or kept."""


class LoginError(ZooError):
    """Who may log in cannot be read or written, or is nobody."""


class VariableError(ZooError, ValueError):
    """A variable of the environment is set to what cannot be used, or is needed and not set."""


class OutOfMemoryError(ZooError):
    """The device is too small for this request."""


class LentGPUError(ZooError):
    """A GPU that is lent for a request, as on ZeroGPU, was not to be had, or was taken back before the end."""
