"""Assertions of the shipped contract are told as those of tests are."""

import pytest

pytest.register_assert_rewrite("orchestrator.store.contract")
