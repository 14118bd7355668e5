"""A blank Jetson becomes a talking one: NVIDIA's own flashing scripts, checked before, told what to do, and watched."""
