#!/bin/sh
# Cuts slices out of a GenTD26 log: sh slices.sh LOG
# Windows of consecutive requests that use adapters (of 20 within half an hour and 5 adapters or more,
# spread over the log, and one of 40), each under three service profiles and two speed-ups; a fast
# profile needs a higher one for queues to form.
set -eu
log=$1
out=$(dirname "$0")/instances
for window in "446558 20" "630232 20" "793269 20" "976924 20" "1054176 20" "1126364 20" "793513 40"; do
  set -- $window
  for profile in documents a100-40g production; do
    case $profile in
      documents) speeds="40 80" tick=1.2 ;;
      a100-40g) speeds="10 20" tick=0.6 ;;
      *) speeds="10 20" tick=1.2 ;;
    esac
    for speed in $speeds; do
      name=gentd26-$profile-n$2-t$1-x$speed
      pats-opt import trace "$log" --time t_s --adapter lora_ids --steps num_inference_steps \
        --prompt-length prompt_length --lora-only --from "$1" --count "$2" --speed "$speed" \
        --profile "$profile" --tick "$tick" --pruned 20 --image-mode one --name "$name" -o "$out/$profile/$name.json"
    done
  done
done
