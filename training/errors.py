"""What can go wrong in the training package, drawn as one tree.

TrainingError
├── FeedbackError
│   ├── InvalidFeedback        the caller's document is wrong; names the field
│   ├── FeedbackNotFound       no such feedback for this tenant
│   ├── FeedbackConflict       its status does not allow that
│   │   └── IdempotencyReused  the idempotency key came with another request before
│   ├── TooMuchFeedback        one response got as much as an untrusted author may say about it
│   ├── InteractionNotFound    no such response for this tenant
│   └── ResponseNotLogged      the response is known but its text was not kept
├── RunError
│   ├── RunNotFound
│   ├── RunConflict            the run's status does not allow that, or the adapter already has a run
│   ├── RunStopped             asked to stop: by a person, or because the learner ends
│   ├── RunGivenUp             interrupted too often
│   └── LeaseLost              another learner has taken this run over
├── OutOfResources             the machine lacks something; may have it later
│   ├── DiskFull
│   └── OutOfMemory
├── DoesNotFit                 by its estimate, training needs more memory than there is
├── InvalidRecipe              a recipe names an unknown field or a value out of range
├── NotEnoughData              nothing to train on
├── LeakFound                  a held-out question reached the training rows
└── TrainingFailed             the weights did not come out (diverged, no effect)
"""


class TrainingError(Exception):
    """Root of everything this package raises on purpose."""


class FeedbackError(TrainingError):
    pass


class InvalidFeedback(FeedbackError):
    """`param` is the field at fault, as the caller wrote it."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class FeedbackNotFound(FeedbackError):
    pass


class FeedbackConflict(FeedbackError):
    pass


class IdempotencyReused(FeedbackConflict):
    pass


class TooMuchFeedback(FeedbackError):
    pass


class InteractionNotFound(FeedbackError):
    pass


class ResponseNotLogged(FeedbackError):
    pass


class RunError(TrainingError):
    pass


class RunNotFound(RunError):
    pass


class RunConflict(RunError):
    pass


class RunStopped(RunError):
    pass


class RunGivenUp(RunError):
    pass


class LeaseLost(RunError):
    pass


class OutOfResources(TrainingError):
    pass


class DiskFull(OutOfResources):
    pass


class OutOfMemory(OutOfResources):
    pass


class DoesNotFit(TrainingError):
    pass


class InvalidRecipe(TrainingError):
    pass


class NotEnoughData(TrainingError):
    pass


class LeakFound(TrainingError):
    pass


class TrainingFailed(TrainingError):
    pass
