"""Value-based algorithms: the agents' action values, and how they become the team's."""
