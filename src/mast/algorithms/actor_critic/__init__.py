"""Actor–critic algorithms: agents that draw their actions from a policy, and critics of their own."""
