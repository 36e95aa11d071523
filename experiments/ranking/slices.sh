#!/bin/sh
# Cuts the windows of this experiment out of a GenTD26 log: sh slices.sh LOG
set -eu
here=$(dirname "$0")
for window in "20 12" "50 12" "100 12" "200 11" "500 4"; do
  set -- "$1" $window
  sh "$here/../windows.sh" "$1" "$2" "$3" "$here/recipe.toml" "$here/instances/trace-n$2"
done
