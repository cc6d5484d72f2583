#!/usr/bin/env bash
# Cloud TPU: the same command on every host of a slice. bigtrain asks the machine's metadata for its place among them.
#
#   TPU=my-v5e-64 ZONE=us-west4-a examples/tpu_pod/train.sh
#   DRY_RUN=1 examples/tpu_pod/train.sh               # shows the commands
#
# Edit: the mount (a Filestore share, or a bucket through gcsfuse, that all hosts see) and the command.
set -euo pipefail

TPU="${TPU:-my-tpu}"
ZONE="${ZONE:-us-west4-a}"
RUN="bigtrain fit model=transformer/gpt2_medium data=text data.path=/runs/corpus precision=bf16 \
mesh=fsdp batch_size=1024 steps=100000 run_dir=/runs/gpt2"

on_all() {
    ${DRY_RUN:+echo} gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

on_all "python3 -m venv ~/bigtrain && ~/bigtrain/bin/pip install 'bigtrain[tpu]'"
on_all "source ~/bigtrain/bin/activate && $RUN"
