#!/bin/sh
# Cuts the windows of this experiment out of a GenTD26 log: sh slices.sh LOG
# The same windows for caches of 1, 2, 4 and 8 adapters.
set -eu
here=$(dirname "$0")
for k in 1 2 4 8; do
  sh "$here/../windows.sh" "$1" 200 8 "$here/../ranking/recipe.toml" "$here/instances/cache-$k" \
    --max-resident "$k"
done
