"""What tests of feedback begin with."""

from training.drafts import FeedbackDraft

DRAFT = FeedbackDraft(
    tenant_id="ten_1",
    adapter="default",
    messages=[{"role": "user", "content": "What is the warranty at Zorvia?"}],
    author="key_1",
    trusted=True,
    rejected="I do not know.",
    correction="2 years",
)
