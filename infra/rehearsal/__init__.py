"""A rehearsal of deployments: `infra/rehearse.py` runs `infra/deploy` against an emulator of AWS."""
