"""Tests run side by side on few cores: one thread each, so that they do not fight."""

import signal

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# A process that was started in the background, or by nohup, ignores signals that tests send to it and to its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
