#!/usr/bin/env bash
# Installs the dependencies of the chat on serverless-offline, in the versions of its lock file. Needs Node 20.19 or
# newer.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --no-audit --no-fund
