"""Where user code runs: a slot supervises, a zygote imports, and each trial gets a process of its own. Free of Ray."""
