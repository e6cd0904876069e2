#!/usr/bin/env bash
# Shows a run in GitHub Actions: the job summary, and an annotation for each red trial: ci/github/summary.sh RUN
set -euo pipefail
run=${1:?usage: ci/github/summary.sh RUN}
summary=${GITHUB_STEP_SUMMARY:-/dev/stdout}
if [ ! -s "$run/summary.md" ]; then
    echo "::error title=meshproof::The run wrote no report. See the step before."
    echo "meshproof wrote no report." >> "$summary"
    exit
fi
# A job summary takes 1 MiB.
head -c 1000000 "$run/summary.md" >> "$summary"
# GitHub shows ten annotations a step; the summary has all. Percent signs and line ends are escaped as it asks.
jq -r '
    def escaped: gsub("%"; "%25") | gsub("\r"; "%0D") | gsub("\n"; "%0A");
    [.suites[].trials[] | select((.verdict == "fail" and (.waiver | not)) or .verdict == "inconclusive")]
    | sort_by(.verdict)[:10][]
    | (if .verdict == "fail" then "error" else "warning" end) as $level
    | (.title + (if .why then ": " + .why else "" end)
        + ([.findings[]? | "\n" + .subject + ": expected " + .expected + ", observed " + .observed][:3] | add // ""))
        as $text
    | "::\($level) title=\(.trial | escaped)::\($text | escaped)"
' "$run/report.json"
