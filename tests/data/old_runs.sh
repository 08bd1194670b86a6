# How old_runs.tar.xz was made: by the code of commit ac4d8b4, whose records and checkpoints carry no format.
# $P is the Python of an installation of that commit. Left out of the archive afterwards: reports, previews, restored files,
# the study's own page and tables, and the arrays of finished fits.
set -u
$P - <<'Q'
import numpy as np
from PIL import Image
from skimage import data
from skimage.transform import resize
from pathlib import Path
Path('clean').mkdir(exist_ok=True)
for name, part in (("cat", data.chelsea()[60:220, 120:280]), ("cup", data.coffee()[100:260,200:360])):
    Image.fromarray(np.rint(resize(part,(40,40),anti_aliasing=True)*255).astype(np.uint8)).save(f'clean/{name}.png')
Q
T="--no-dashboard --store store --set network.width=8 --set score.candidates=4 --set score.chunk=2 --set cohort.crop_px=32 --set cohort.iterations=8 --set fit.iterations=10 --set fit.patience=10 --set fit.block=5 --set pick.full_fits=2 --set resources.parallel=1"
S="$T --images clean --simulate --set cohort.size=2"
$P -m orchestrator submit $S --run finished --arms isnas-dip-blind,dip
$P -m orchestrator submit $S --run lottery --arms lottery-imp,lottery-random,lottery-dense --set lottery.rounds=2 --set lottery.initialisations=1 --set lottery.iterations=10
$P -m orchestrator study $T --images clean --candidates 3 --run study

# Interrupted in mid-fit, and in mid-search for a ticket: one image, and a checkpoint as often as can be.
rm clean/cup.png
S="$S --set fit.block=2 --set fit.checkpoint_s=0.05 --set pick.full_fits=1"
interrupt() {  # the pattern of a file to wait for, and the command
    pattern=$1; shift
    "$@" & pid=$!
    until ls $pattern >/dev/null 2>&1; do sleep 0.05; kill -0 $pid || break; done
    kill -INT $pid; wait $pid
}
interrupt "store/runs/interrupted/fits/*/full/*/checkpoint.pt" $P -m orchestrator submit $S --run interrupted --set fit.iterations=400 --set fit.patience=400
interrupt "store/runs/lottery-interrupted/fits/*/full/*/finding-00.pt" $P -m orchestrator submit $S --run lottery-interrupted --set fit.patience=400 --arms lottery-imp,lottery-oes --set lottery.rounds=1 --set lottery.initialisations=1 --set lottery.iterations=200
