"""The toy world's pictures: the agent's face and the user's camera, drawn and measured with numpy alone."""
