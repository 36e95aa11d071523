#!/bin/sh
# Cuts windows out of a GenTD26 log: sh windows.sh LOG LENGTH COUNT RECIPE OUT [option of import ...]
# Takes COUNT of the log's windows of LENGTH requests that use adapters (no two share a request; evenly
# spread over the log) and writes them as instances to the folder OUT. Each window is sped up so that its
# requests come every 5 s on average: the log's own load is light, and so all windows have the same.
set -eu
log=$1 length=$2 count=$3 recipe=$4 out=$5
shift 5
zcat -f "$log" | awk -F, -v length_="$length" -v count="$count" '
  NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
  $column["lora_ids"] != "" { time[n++] = $column["t_s"] }
  END {
    windows = int(n / length_)
    for (i = 0; i < count && i < windows; i++) {
      first = int(i * windows / (count < windows ? count : windows)) * length_
      span = time[first + length_ - 1] - time[first]
      printf "%s %.3f\n", time[first], span / (5 * (length_ - 1))
    }
  }' |
  while read -r from speed; do
    name=gentd26-n$length-t$from
    pats-opt import trace "$log" --time t_s --adapter lora_ids --steps num_inference_steps \
      --prompt-length prompt_length --lora-only --pruned 20 --from "$from" --count "$length" --speed "$speed" \
      --config "$recipe" --name "$name" "$@" -o "$out/$name.json"
  done
