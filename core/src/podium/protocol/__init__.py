"""What an Orchestrator does on chain: rewards, rounds, and its operator's actions."""
