"""The label search where there are several GPUs, or several residents on one."""
