"""Running schedules and policies for real, on SDXL with LoRA adapters.

Data flows one way: a schedule (:mod:`drivers`) or a policy (:mod:`policy_driver`) gives
each GPU's worker its next :class:`~pats_opt.execute.work.Order`; the worker's engine switches
adapters and denoises; images, a journal and measured :class:`~pats_opt.execute.record.Span` come
out; the report sets them against what was predicted.

Only ``engine`` imports torch, diffusers and peft (the extra ``execute``).
"""
