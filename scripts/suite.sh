# For other scripts: run vitest, or scripts/breakages, and count one by one; say whether test/nix/nixos can run.

# suite ARGUMENTS…: sets `good`, `bad` and `skipped` to numbers of tests, and `crashed` to that of files that failed before their tests ran.
suite() {
  local results exit
  results=$(mktemp)
  node_modules/.bin/vitest run --reporter=default --reporter=json --outputFile.json="$results" "$@" </dev/null
  exit=$?
  good=0 bad=0 skipped=0 crashed=0
  [[ ! -s $results ]] || read -r good bad skipped crashed < <(node -p "
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(fs.readFileSync('$results'))
    const crashed = testResults.filter((file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'))
    ;[numPassedTests, numFailedTests, numPendingTests + numTodoTests, crashed.length].join(' ')")
  rm -f "$results"
  # An error outside of all tests.
  ((exit == 0 || bad + crashed > 0)) || crashed=1
}

# breakages ARGUMENTS…: sets `good` and `bad` to numbers of breakages.
breakages() {
  local line last=''
  good=0 bad=1
  # Not by tee /dev/stderr: it opens a log file anew, and empties what stands in it.
  while IFS= read -r line; do
    echo "$line"
    last=$line
  done < <(scripts/breakages "$@")
  [[ ! $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]] || good=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]}
}

# nixosReady: whether test/nix/nixos can run (scripts/nixos says what it needs); if it can't, says why in one line.
nixosReady() {
  local nix=(nix-instantiate) version
  [[ ! ${NIX_CHROOT:-} ]] || nix=(chroot "$NIX_CHROOT" "${nix[@]}")
  if [[ ! -e $NIXPKGS/nixos/lib/eval-config.nix ]]; then
    echo "$NIXPKGS is no complete nixpkgs tree: there is no nixos/lib/eval-config.nix in it" >&2
  elif ! version=$("${nix[@]}" --version 2>&1); then
    echo "no Nix: ${nix[*]} --version says: $version" >&2
  elif ! printf '2.18\n%s\n' "${version##* }" | sort -C -V; then
    echo "a complete NixOS needs Nix 2.18 or newer, this is ${version##* }; NIX_CHROOT names a root folder with a newer one" >&2
  else
    return 0
  fi
  return 1
}
