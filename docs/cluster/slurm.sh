#!/bin/bash
# TEMPLATE: nobody has run this yet. Trainer ranks on the nodes of a Slurm job; docs/scale.md says what it rests on.
#   sbatch docs/cluster/slurm.sh recipe.yaml output=/shared/runs/mine
# The environment ($VENV) and the run folder lie on a file system that every node mounts under the same path.
#SBATCH --job-name=postlude
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
# Slurm sends SIGTERM to the batch script ahead of its limit: the run then finishes its step, saves and ends.
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
set -eu
VENV=${VENV:-$HOME/postlude-env}
PORT=${PORT:-6379}
source "$VENV/bin/activate"

# One token for this job, readable by its owner alone: whoever has it can run anything on these nodes.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.postlude-ray-$SLURM_JOB_ID RAY_USAGE_STATS_ENABLED=0
(umask 077; python -c "import secrets; print(secrets.token_hex(32), end='')" > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ADDRESS=$(srun --nodes=1 --ntasks=1 -w "$HEAD" hostname --ip-address | awk '{print $1}'):$PORT
# Each `srun` step ends with the job, and Ray with it. Keys of judges stay with the driver: Ray is started without them.
KEYS=$(env | cut -d= -f1 | grep -E '(_KEY|_TOKEN|_SECRET|PASSWORD)$' | grep -vE '^(HF_TOKEN|RAY_AUTH_TOKEN)$' || true)
ray_step() { env $(for key in $KEYS; do echo "-u $key"; done) srun --overlap --nodes=1 --ntasks=1 "$@" & }

ray_step -w "$HEAD" ray start --head --block --port="$PORT" --node-ip-address="${ADDRESS%:*}" --include-dashboard=false
sleep 20
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n +2); do
    ray_step -w "$node" ray start --block --address="$ADDRESS"
done
# Nodes that have not joined yet are waited for (60 s), and what is missing is said.
GPUS=$((SLURM_JOB_NUM_NODES * SLURM_GPUS_ON_NODE))
RESUME=$([ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && echo --resume || true)
postlude train "$@" engine.trainers="$GPUS" engine.address="$ADDRESS" $RESUME &
trap 'kill -TERM $!' TERM
wait $! || wait $!
