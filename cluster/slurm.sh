#!/usr/bin/env bash
# One run on the machines of a Slurm allocation: docs/clusters.md has it step by step.
#
#   sbatch --nodes=4 --cpus-per-task=16 cluster/slurm.sh --images photos/ --store /shared/dip-store
#   sbatch --nodes=2 --gpus-per-node=1 cluster/slurm.sh --images photos/ --store /shared/dip-store --config denoise
#
# All that follows the script goes to `python -m orchestrator submit`. Images, store and this checkout lie where all machines of
# the allocation see them under the same path. DIP_VENV names the environment (default: .venv where sbatch was called).
#
# Shortly before its time is over, and when others take precedence, the job pauses the run, asks to be queued again, and goes
# on where it was. After `scancel` it pauses the run and ends.
#
#SBATCH --job-name=dip
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=dip-%j.log
set -euo pipefail

: "${SLURM_JOB_ID:?this is a batch script for Slurm: sbatch cluster/slurm.sh --images DIR}"
readonly cpus=${SLURM_CPUS_PER_TASK:-1}

venv=${DIP_VENV:-${SLURM_SUBMIT_DIR:-.}/.venv}
if [ -f "$venv/bin/activate" ]; then
  # shellcheck disable=SC1091
  source "$venv/bin/activate"
elif [ -n "${DIP_VENV:-}" ]; then
  echo "DIP_VENV: there is no environment in $DIP_VENV" >&2
  exit 2
fi

# Other jobs, of other users too, may be on the same machines. So the ports that must be known are drawn from the job's number
# (below those that systems give out by themselves), and all others are left to chance.
port=$((20000 + SLURM_JOB_ID % 1200 * 10))
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${machines[0]}
# The job's number stays when it is queued again, and what was left of its last start must not be in the way.
attempt=$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}

# In the home, which all machines see: the token, for this start of this job only, and a sign by which all nodes end.
mkdir -p "$HOME/.dip"
shared=$(mktemp -d "$HOME/.dip/slurm-$attempt-XXXXXX")
(umask 077 && od -A n -N 32 -t x1 /dev/urandom | tr -d ' \n' > "$shared/token")

export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH=$shared/token
export RAY_USAGE_STATS_ENABLED=0
export RAY_ADDRESS=$head:$port
# Pausing is the driver's business; a node that is told to end may do so at once.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
# Ray opens its files to all users, so that they lie below a folder that only this one may enter. Sockets need a short path.
export DIP_RAY_FILES=/tmp/dip-$attempt
export DIP_STOP=$shared/stop

# A node of Ray on this machine, until somebody makes the file $DIP_STOP. It is not ended by a signal, since what srun does with
# one differs from site to site.
# shellcheck disable=SC2329 # srun's bash calls it
node() {
  mkdir -m 0700 "$DIP_RAY_FILES" || exit 1
  trap 'rm -rf "$DIP_RAY_FILES"' EXIT
  ray start "$@" --block --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --min-worker-port=0 --max-worker-port=0 \
    --object-store-memory=536870912 --disable-usage-stats &
  local ray=$!
  while [ ! -e "$DIP_STOP" ] && kill -0 "$ray" 2> /dev/null; do sleep 1; done
  # More than once, as bash may lose a signal to a child that it has not quite started.
  while kill -TERM "$ray" 2> /dev/null; do sleep 1; done
}

first=
start() { # MACHINE ARGUMENTS OF ray start
  local machine=$1
  shift
  srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --nodelist="$machine" \
    bash -c "$(declare -f node); node \"\$@\"" node "$@" --num-cpus="$cpus" &
  first=${first:-$!}
}

finish() {
  touch "$shared/stop"
  local end=$((SECONDS + 20))
  while [ -n "$(jobs -rp)" ] && [ "$SECONDS" -lt "$end" ]; do sleep 1; done
  for job in $(jobs -rp); do kill "$job" 2> /dev/null || true; done
  rm -rf "$shared"
}
trap finish EXIT

driver=
warned=
# shellcheck disable=SC2329 # a trap calls it
pause() {
  warned=1
  if [ -n "$driver" ]; then kill -TERM "$driver" 2> /dev/null || true; fi
}
trap pause TERM

start "$head" --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) \
  --ray-client-server-port=$((port + 2)) --dashboard-agent-listen-port=$((port + 3)) --temp-dir="$DIP_RAY_FILES/ray"
deadline=$((SECONDS + 120))
until [ -n "$warned" ] || ray health-check --address "$RAY_ADDRESS" > /dev/null 2>&1; do
  if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$first" 2> /dev/null; then
    echo "Ray's head did not start on $head" >&2
    exit 1
  fi
  sleep 1
done

status=130 # paused
if [ -z "$warned" ]; then
  for machine in "${machines[@]:1}"; do
    start "$machine" --address="$RAY_ADDRESS" --dashboard-agent-listen-port=$((port + 3))
  done
  # Machines that come later than the driver take part as soon as they are there. The job's number names the run, so that the
  # next start of this job goes on with it; a --run of the caller's, being the later, counts instead.
  python -m orchestrator submit --run "slurm-$SLURM_JOB_ID" "$@" --address auto &
  driver=$!
  if [ -n "$warned" ]; then pause; fi
  # A signal ends this wait, but not yet the driver, which then writes what there is.
  while
    status=0
    wait "$driver" || status=$?
    kill -0 "$driver" 2> /dev/null
  do :; done
fi

# 0 and 65 (some images have no result) are ends, and after 2 (a mistake) another start would find the same. A job that was cancelled is no longer running when its script hears
# of it; one whose time is over, or that is to make room, is.
case $status in 0 | 2 | 65) warned= ;; esac
if [ -n "$warned" ] && scontrol show job "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING'; then
  finish
  trap - EXIT
  echo "the run is paused; this job is queued again, and goes on with it" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
