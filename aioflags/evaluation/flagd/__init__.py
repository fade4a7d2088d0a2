"""The rules of flagd: JSONLogic with operators for rollouts, versions and texts."""
