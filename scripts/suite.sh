# For other scripts: run vitest, or scripts/breakages, and count one by one.

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
