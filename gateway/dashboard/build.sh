#!/usr/bin/env bash
# Builds the control panel into dist/, where it is not yet, or older than its source.
#   build.sh              where there is no Node that can, says so and goes on: the gateway does without
#   build.sh --required   that is an error
#   build.sh --check      --required, and checks its types and runs its unit tests
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
how=${1:-}

# What Vite needs. The tests bring one in their virtual environment where the machine's is too old.
can() {
    command -v "$1" >/dev/null &&
        "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}
if ! can node && can "$root/.venv/bin/node"; then
    export PATH=$root/.venv/bin:$PATH
fi
if ! can node || ! command -v npm >/dev/null; then
    echo "the control panel is not built: that needs Node 20.19 or later, with npm" >&2
    [[ -z $how ]] && exit 0
    exit 1
fi

if [[ ! -e node_modules/.ready || package-lock.json -nt node_modules/.ready ]]; then
    npm ci --no-audit --no-fund --loglevel=error || {
        echo "the control panel is not built: its packages could not be installed" >&2
        [[ -z $how ]] && exit 0
        exit 1
    }
    touch node_modules/.ready
fi
if [[ $how == --check ]]; then
    npm run --silent check
    npm test --silent
fi
if [[ ! -e dist/index.html ]] || [[ -n $(find src public scripts index.html package-lock.json vite.config.ts -newer dist/index.html -print -quit) ]]; then
    # What was not built whole must not look as if it had been.
    npm run --silent build || { rm -f dist/index.html; exit 1; }
fi
