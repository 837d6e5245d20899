#!/usr/bin/env bash
# Installs what the chat on serverless-offline needs, in the versions of its lock file. Needs Node 20.19 or newer.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --no-audit --no-fund
