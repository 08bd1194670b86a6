"""Try images without a result again, before a run is resumed."""

from orchestrator.keep.retry import set_aside
from orchestrator.plan.checks import folders_to_read
from orchestrator.plan.request import OldRun
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.progress import Listener
from orchestrator.run.record import read_run
from orchestrator.text import counted


def try_again(request: OldRun, listener: Listener) -> None:
    """Make the images of a run that have no result unfinished again, so that whoever drives it next does them.

    Rejected files are looked at again where the user has given their folder, or trusts the run's record.

    Raises:
        UserMistakeError: the run cannot be resumed as asked, a driver works on it, or a folder is missing or has no
            usable image.
        StoreError: the store cannot be read or written.
    """
    request.plan(None)  # mistakes are raised before anything is set aside
    store, run = request.store, request.run
    inputs = read_inputs(store, RunLayout(run))
    rejected = 0 if inputs is None else len(inputs.rejected)
    look = bool(rejected) and (request.source is not None or request.trust)
    source = folders_to_read(read_run(store, run), request.source, trust=request.trust) if look else None
    retried = set_aside(store, run, source, note=listener.note)
    listener.note(f"{counted(retried.images, 'image')} without a result: another try")
    if look:
        listener.note(f"{retried.files} of {counted(rejected, 'rejected file')} can be used now")
    elif rejected:
        listener.note(f"{counted(rejected, 'rejected file')} not looked at again: give the folder, --images DIR")
