# For other scripts: run vitest and count its tests one by one.

# suite ARGUMENTS…: sets `good`, `bad` and `skipped`, and `crashed` to 1 if it failed without a failed test (a file that doesn't load, say).
suite() {
  local results exit
  results=$(mktemp)
  node_modules/.bin/vitest run --reporter=default --reporter=json --outputFile.json="$results" "$@" </dev/null
  exit=$?
  good=0 bad=0 skipped=0 crashed=0
  [[ ! -s $results ]] || read -r good bad skipped < <(node -p "
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = JSON.parse(fs.readFileSync('$results'))
    numPassedTests + ' ' + numFailedTests + ' ' + (numPendingTests + numTodoTests)")
  rm -f "$results"
  ((exit == 0 || bad > 0)) || crashed=1
}
