"""The errors a user can meet. Each message names the problem, its place, and what to do next."""


class OrchestratorError(Exception):
    """Base of every error this package raises on purpose."""


class UserMistakeError(OrchestratorError):
    """A request of the user that cannot be carried out. The command ends with status 2 and this one line."""


class ConfigError(UserMistakeError):
    """The settings hold mistakes; the message lists all of them, one a line."""


class ImageRejectedError(OrchestratorError):
    """One image cannot be used. It becomes a rejected row with this reason; the others go on."""


class NotFoundError(OrchestratorError):
    """The store holds no object under this key."""


class RunFailedError(OrchestratorError):
    """A run could not go on; its record has the reason."""


class RayLostError(OrchestratorError):
    """The Ray that a run worked on is gone."""


class StoreError(OrchestratorError):
    """The store could not be read or written."""


class StoreUnavailableError(StoreError):
    """The store is in trouble for the moment: unreachable, overloaded, full, or its credentials have
    expired. Later it may work.
    """


class ImagesUnavailableError(OrchestratorError):
    """The folder of a run's images has vanished before all of them were in the store."""


class DamagedError(StoreError):
    """An object in the store differs from the one that was written there."""


class NewerFormatError(StoreError):
    """A record in the store was written by a newer version of the project, whose format this version does not know."""


class TicketError(OrchestratorError):
    """A lottery ticket is not there, is damaged, or belongs to a network that the image cannot be fitted with."""


class FitOutOfMemoryError(OrchestratorError):
    """A fit needs more memory than it could get; the message names a size that would fit."""


class NodeLeavingError(OrchestratorError):
    """The machine that a fit runs on is about to be taken away; its checkpoint is in the store."""


class SupersededError(OrchestratorError):
    """Another driver has taken over the run that this one worked on, or the run has been deleted meanwhile."""


class HoursSpentError(OrchestratorError):
    """A run has used the machine hours that its settings allow it."""


class RunCancelledError(OrchestratorError):
    """The run has been cancelled."""
